#include "exec/profile.h"

#include "ops/cost.h"

namespace easel::exec {

Launch describe_launch(const EntryProgram& entry, const Command& command) {
  Launch launch;
  launch.entry = graph::to_string(entry.rate);
  launch.index = static_cast<int>(&command - entry.commands.data());
  launch.layer = command.scope;
  launch.op = std::string(ops::op_name(command.call.attrs)) + ops::to_string(command.call.attrs);
  launch.op_class = ops::to_string(ops::op_class_of(command.call));
  launch.kernel = command.kernel->name;
  launch.shapes = ops::shapes_of(command.call);
  launch.flops = ops::flops_of(command.call);
  launch.bytes = ops::bytes_of(command.call);
  return launch;
}

Session::Observer report_to(LaunchSink sink, const std::string& component) {
  using Seconds = std::chrono::duration<double>;
  return [sink = std::move(sink), component](const EntryProgram& entry, const Command& command,
                                             Session::Clock::time_point begin, Session::Clock::time_point end) {
    Launch launch = describe_launch(entry, command);
    launch.component = component;
    launch.begin = Seconds(begin.time_since_epoch()).count();
    launch.seconds = Seconds(end - begin).count();
    sink(launch);
  };
}

}  // namespace easel::exec
