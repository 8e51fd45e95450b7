// A fixed set of threads that run numbered tasks.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace easel {

/// Runs `count` tasks, numbered 0 … count-1, on `threads` threads (the caller is one of them) and waits.
/// Which thread runs which task is not fixed, so a task's result must depend on its number alone:
/// work is cut by shape, never by thread count. Calls from several threads are served one after the other.
/// Tasks must not throw and must not start tasks on the same pool.
class ThreadPool {
 public:
  using Task = void (*)(void* context, int64_t task, int thread);

  /// threads ≥ 1; 0 means one per physical core that this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return threads_; }
  void run(int64_t count, Task task, void* context) noexcept;

  /// body(task, thread), thread in 0 … threads()-1 for per-thread scratch memory.
  template <typename Body>
  void parallel_for(int64_t count, Body&& body) noexcept {
    using Fn = std::remove_reference_t<Body>;
    run(
        count, [](void* context, int64_t task, int thread) { (*static_cast<Fn*>(context))(task, thread); },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  struct Impl;
  int threads_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace easel
