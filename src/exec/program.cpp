#include "exec/program.h"

#include "base/fail.h"

namespace easel::exec {

int Program::slot(const std::string& name) const {
  for (size_t i = 0; i < slots_.size(); ++i)
    if (slots_[i].name == name) return static_cast<int>(i);
  fail(ErrorCode::invalid_argument, "{}: there is no input or output '{}'", name_, name);
}

}  // namespace easel::exec
