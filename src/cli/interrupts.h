// Ctrl-C.
#pragma once

#include <easel/cancel.h>

namespace easel::cli {

/// A token that SIGINT and SIGTERM set from now on; the second signal ends the process at once.
/// A signal handler sees nothing but globals, so this is the program's one piece of global state.
CancelToken cancel_on_interrupt();

}  // namespace easel::cli
