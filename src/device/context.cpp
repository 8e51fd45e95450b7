#include "device/context.h"

#include "base/fail.h"

namespace easel::device {

constexpr int kMaxThreads = 1024;

Context::Context(int threads, Logger logger) : isa(usable_isa()), log(std::move(logger)) {
  if (threads < 0 || threads > kMaxThreads)
    fail(ErrorCode::invalid_argument, "threads: expected 0 (all cores) to {}, found {}", kMaxThreads, threads);
  pool = std::make_unique<ThreadPool>(threads);
}

}  // namespace easel::device
