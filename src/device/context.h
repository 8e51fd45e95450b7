// What a running model borrows from its surroundings. There are no globals: everything comes in through here.
#pragma once

#include <memory>

#include <easel/cancel.h>

#include "base/log.h"
#include "base/thread_pool.h"
#include "device/cpu/features.h"

namespace easel::device {

/// Shared by the sessions of a process; safe to use from several threads.
struct Context {
  /// threads 0: one per physical core. Throws invalid_argument for a negative count or an unknown EASEL_MAX_ISA.
  explicit Context(int threads = 0, Logger logger = Logger());

  Isa isa;
  Logger log;
  std::unique_ptr<ThreadPool> pool;
  CancelToken cancel;
};

using ContextPtr = std::shared_ptr<Context>;

}  // namespace easel::device
