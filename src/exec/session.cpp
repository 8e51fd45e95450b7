#include "exec/session.h"

#include <cstring>

#include "base/fail.h"

namespace easel::exec {

std::byte* Arena::reserve(int64_t bytes) {
  if (bytes > buffer_.size()) {
    buffer_ = device::Buffer();  // first give the old one back
    buffer_ = device::Buffer(bytes);
  }
  return buffer_.data();
}

Session::Session(ProgramPtr program, std::shared_ptr<Arena> arena)
    : program_(std::move(program)), arena_(arena ? std::move(arena) : std::make_shared<Arena>()) {
  if (!program_->runnable()) fail(ErrorCode::invalid_argument, "{}: was compiled for planning only", program_->name());
  for (const Slot& slot : program_->slots()) slots_.push_back(Tensor::zeros(slot.dtype, slot.shape));
  size_t arguments = 0;
  for (const EntryProgram& entry : program_->entries())
    for (const Command& command : entry.commands) arguments = std::max(arguments, command.inputs.size());
  pointers_.resize(arguments);
}

Tensor Session::tensor(const std::string& name) const { return slots_[static_cast<size_t>(program_->slot(name))]; }

void Session::check(const Slot& slot, const Tensor& values) const {
  if (values.dtype() != slot.dtype || !(values.shape() == slot.shape) || !values.contiguous())
    fail(ErrorCode::shape_mismatch, "{}: '{}': expected {} {}, found {} {}", program_->name(), slot.name,
         to_string(slot.dtype), slot.shape.str(), to_string(values.dtype()), values.shape().str());
}

void Session::set(const std::string& name, const Tensor& values) {
  const int index = program_->slot(name);
  check(program_->slots()[static_cast<size_t>(index)], values);
  const Tensor& target = slots_[static_cast<size_t>(index)];
  std::memcpy(target.raw(), values.raw(), static_cast<size_t>(values.bytes()));
}

void Session::bind(const std::string& name, const Tensor& tensor) {
  const int index = program_->slot(name);
  check(program_->slots()[static_cast<size_t>(index)], tensor);
  slots_[static_cast<size_t>(index)] = tensor;
}

void Session::run(graph::Rate rate) {
  for (const EntryProgram& entry : program_->entries())
    if (entry.rate == rate) run(entry);
}

void Session::run() {
  for (const EntryProgram& entry : program_->entries()) run(entry);
}

void Session::run(const EntryProgram& entry) {
  std::byte* arena = arena_->reserve(entry.arena_bytes);
  device::Context& context = *program_->context();
  const auto address = [&](const Location& location) -> std::byte* {
    switch (location.space) {
      case Location::Space::arena: return arena + location.offset;
      case Location::Space::slot: return slots_[static_cast<size_t>(location.index)].raw() + location.offset;
      case Location::Space::constant:
        return static_cast<std::byte*>(
            const_cast<void*>(program_->constants()[static_cast<size_t>(location.index)]->data));
    }
    return nullptr;
  };
  for (const Command& command : entry.commands) {
    if (context.cancel.cancelled()) fail(ErrorCode::cancelled, "{}: cancelled", program_->name());
    for (size_t i = 0; i < command.inputs.size(); ++i) pointers_[i] = address(command.inputs[i]);
    const Clock::time_point begin = observer_ ? Clock::now() : Clock::time_point();
    command.kernel->run(
        {command.call, pointers_.data(), address(command.output), arena + command.scratch_offset, *context.pool});
    if (observer_) observer_(entry, command, begin, Clock::now());
  }
}

}  // namespace easel::exec
