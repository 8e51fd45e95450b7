#include "base/log.h"

#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace easel {

static spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: return spdlog::level::off;
  }
  return spdlog::level::info;
}

Logger::Logger(LogLevel level)
    : impl_(std::make_shared<spdlog::logger>("easel", std::make_shared<spdlog::sinks::stderr_sink_mt>())) {
  impl_->set_pattern("easel: %l: %v");
  set_level(level);
}

void Logger::set_level(LogLevel level) { impl_->set_level(level_of(level)); }
void Logger::debug(std::string_view message) const { impl_->debug("{}", message); }
void Logger::info(std::string_view message) const { impl_->info("{}", message); }
void Logger::warning(std::string_view message) const { impl_->warn("{}", message); }
void Logger::error(std::string_view message) const { impl_->error("{}", message); }

}  // namespace easel
