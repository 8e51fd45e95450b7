// Asking a running call to stop, from another thread or a signal handler.
#pragma once

#include <atomic>
#include <memory>

namespace easel {

/// A flag shared by its copies. Long calls poll it between commands and throw Error(cancelled).
class CancelToken {
 public:
  CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
  /// Async-signal-safe: may be called from a signal handler.
  void cancel() noexcept { flag_->store(true, std::memory_order_relaxed); }
  bool cancelled() const noexcept { return flag_->load(std::memory_order_relaxed); }

 private:
  std::shared_ptr<std::atomic<bool>> flag_;
};

}  // namespace easel
