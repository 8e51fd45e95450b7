// How often this test program has allocated memory with operator new.
#pragma once

#include <cstddef>

namespace easel::sampling {

size_t allocation_count();

}  // namespace easel::sampling
