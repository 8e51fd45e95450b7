#include "base/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fstream>

namespace easel {

namespace {

// Denormals cost hundreds of cycles each and never matter to a picture; flush them on every thread that computes.
void flush_denormals() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#endif
}

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Hyper-threads share one set of vector units, so a second thread on a core only adds contention.
int physical_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    std::string siblings;
    cores.insert(std::getline(file, siblings) ? siblings : std::to_string(cpu));
  }
  return std::max<int>(1, static_cast<int>(cores.size()));
}

}  // namespace

struct ThreadPool::Impl {
  std::mutex callers;  // one run() at a time
  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::thread> workers;
  std::atomic<uint64_t> generation{0};
  std::atomic<int> busy{0};
  std::atomic<bool> stop{false};
  std::atomic<int64_t> next{0};
  int64_t count = 0;
  Task task = nullptr;
  void* context = nullptr;

  void drain(int thread) noexcept {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(context, i, thread);
  }

  void worker(int thread) noexcept {
    flush_denormals();
    uint64_t seen = 0;
    for (;;) {
      // Spin briefly first: between two operators of a network the next task comes within microseconds.
      for (int spin = 0; spin < 4000 && generation.load(std::memory_order_acquire) == seen; ++spin) pause();
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      drain(thread);
      busy.fetch_sub(1, std::memory_order_release);
    }
  }

  void publish() {
    {
      std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(threads > 0 ? threads : physical_cores()), impl_(std::make_unique<Impl>()) {
  for (int i = 1; i < threads_; ++i) impl_->workers.emplace_back([this, i] { impl_->worker(i); });
}

ThreadPool::~ThreadPool() {
  impl_->stop.store(true, std::memory_order_release);
  impl_->publish();
  for (auto& worker : impl_->workers) worker.join();
}

void ThreadPool::run(int64_t count, Task task, void* context) noexcept {
  if (count <= 0) return;
  std::lock_guard caller(impl_->callers);
  flush_denormals();
  if (count == 1 || threads_ == 1) {
    for (int64_t i = 0; i < count; ++i) task(context, i, 0);
    return;
  }
  impl_->task = task;
  impl_->context = context;
  impl_->count = count;
  impl_->next.store(0, std::memory_order_relaxed);
  impl_->busy.store(threads_ - 1, std::memory_order_relaxed);
  impl_->publish();
  impl_->drain(0);
  for (int spin = 0; impl_->busy.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < 20000)
      pause();
    else
      std::this_thread::yield();
  }
}

}  // namespace easel
