// A logger that is handed around in a Context: there is no global one.
#pragma once

#include <memory>
#include <string_view>

namespace spdlog {
class logger;
}

namespace easel {

enum class LogLevel { debug, info, warning, error, off };

/// Writes "easel: warning: …" lines to standard error. Copies share one sink; calls are thread-safe.
class Logger {
 public:
  explicit Logger(LogLevel level = LogLevel::info);
  void set_level(LogLevel level);
  void debug(std::string_view message) const;
  void info(std::string_view message) const;
  void warning(std::string_view message) const;
  void error(std::string_view message) const;

 private:
  std::shared_ptr<spdlog::logger> impl_;
};

}  // namespace easel
