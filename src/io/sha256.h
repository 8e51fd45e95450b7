// SHA-256 of files: how model files are told apart.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace easel::io {

/// 64 lower-case hexadecimal digits of the whole file (FIPS 180-4). The first ten are what web pages call the AutoV2
/// hash. progress: called with bytes done and bytes in all, every few megabytes; may throw to stop. begin: bytes at the
/// start that are left out. Throws io.
std::string sha256_of_file(const std::string& path, const std::function<void(uint64_t, uint64_t)>& progress = {},
                           uint64_t begin = 0);

}  // namespace easel::io
