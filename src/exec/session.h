// The mutable side of running a program: arena, inputs, outputs and persistent values.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exec/program.h"

namespace easel::exec {

/// Working memory that the sessions of one pipeline share, sized to the largest. Not for concurrent runs.
class Arena {
 public:
  std::byte* reserve(int64_t bytes);
  /// Gives the memory back until the next reserve().
  void release() { buffer_ = device::Buffer(); }
  int64_t size() const { return buffer_.size(); }

 private:
  device::Buffer buffer_;
};

/// One user of a program. Sessions of one program may run at the same time on different threads if they do not share
/// an arena; one session may not.
class Session {
 public:
  /// arena nullptr: one of its own. Throws invalid_argument for a program compiled with plan_only.
  explicit Session(ProgramPtr program, std::shared_ptr<Arena> arena = nullptr);

  /// Memory of an input or output; written or read between runs.
  Tensor tensor(const std::string& name) const;
  /// Copies values in. Throws shape_mismatch unless dtype and shape are the slot's.
  void set(const std::string& name, const Tensor& values);
  /// Uses `tensor` itself from now on, for example another session's output. Throws shape_mismatch likewise.
  void bind(const std::string& name, const Tensor& tensor);

  /// Runs the entry of that rate; nothing where the program has none.
  /// Throws cancelled between two commands once the context's token says so; outputs are then undefined.
  void run(graph::Rate rate);
  /// Runs all entries, slowest first.
  void run();

  /// Called after every command with the times between which it ran. Without an observer no clock is read.
  using Clock = std::chrono::steady_clock;
  using Observer =
      std::function<void(const EntryProgram&, const Command&, Clock::time_point begin, Clock::time_point end)>;
  void set_observer(Observer observer) { observer_ = std::move(observer); }
  const Program& program() const { return *program_; }
  const ProgramPtr& program_ptr() const { return program_; }

 private:
  void run(const EntryProgram& entry);
  void check(const Slot& slot, const Tensor& values) const;

  ProgramPtr program_;
  std::shared_ptr<Arena> arena_;
  std::vector<Tensor> slots_;
  std::vector<const void*> pointers_;  // arguments of the running command; kept so that a run allocates nothing
  Observer observer_;
};

}  // namespace easel::exec
