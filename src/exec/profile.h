// Commands in words, for profiles.
#pragma once

#include <easel/profile.h>

#include "exec/session.h"

namespace easel::exec {

/// Everything about a launch that is known before it runs; component, begin and seconds are left to the caller.
/// `command` is one of entry.commands.
Launch describe_launch(const EntryProgram& entry, const Command& command);

/// An observer for Session::set_observer() that turns launches of `component` into reports to `sink`.
Session::Observer report_to(LaunchSink sink, const std::string& component);

}  // namespace easel::exec
