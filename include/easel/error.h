// The one exception type of easel and the codes it carries.
#pragma once

#include <stdexcept>
#include <string>

namespace easel {

enum class ErrorCode {
  invalid_argument,  ///< a value a caller chose is outside what is allowed
  shape_mismatch,    ///< tensors or configurations that do not fit together
  unsupported,       ///< well-formed, but nothing here can run it
  out_of_memory,     ///< would not fit, or an allocation failed
  io,                ///< a file could not be read, written or understood
  device,            ///< a device or thread failed
  cancelled,         ///< stopped on request
  internal,          ///< a defect in easel
};

/// What every failing call throws. The message is one line: where, what was expected, what came.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// "invalid_argument", "shape_mismatch", …
const char* to_string(ErrorCode code) noexcept;

/// Exit status of a command that ended with `code`: 1 failed, 2 wrong use, 130 cancelled.
int exit_status(ErrorCode code) noexcept;

}  // namespace easel
