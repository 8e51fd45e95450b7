// The check that ops_test makes of one kernel on one case, so that tests of the harness can make it too.
#pragma once

#include <map>

#include "ops/harness.h"

namespace easel::ops::testing {

struct Outcome {
  std::string reason;                 ///< why the kernel does not take the case; empty: it ran
  std::vector<std::string> problems;  ///< what was wrong
  double worst = 0;                   ///< largest error, in the case's epsilons
};

/// Results of the reference on one case, kept from kernel to kernel: references are slow.
using References = std::map<int, std::vector<std::byte>>;

/// Runs `kernel` on `test_case` in every form it takes: one and three threads and misaligned memory (the same bytes),
/// in place, strided inputs, weights that are no constants, NaN and infinities; with guards around all memory.
Outcome check(const Kernel& kernel, const Kernel& reference, const Case& test_case, References& references);

}  // namespace easel::ops::testing
