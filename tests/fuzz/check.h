// What every fuzz target holds a parser to: it returns, or it throws one easel::Error of one line.
#pragma once

#include <easel/error.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace easel::fuzz {

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

template <typename Call>
void holds(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    require(error.code() == ErrorCode::io || error.code() == ErrorCode::invalid_argument, "the code fits the fault");
    require(std::strlen(error.what()) > 0 && !std::strpbrk(error.what(), "\r\n"), "the message is one line");
  }
}

}  // namespace easel::fuzz
