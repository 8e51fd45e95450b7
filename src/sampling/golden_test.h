// Reading the fixtures of tests/goldens/sampling (tests only).
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace easel::sampling {

inline nlohmann::json load_golden(const std::string& name) {
  const std::string path = std::string(EASEL_SOURCE_DIR) + "/tests/goldens/sampling/" + name;
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return nlohmann::json::parse(file, nullptr, false);
}

/// float32 bits as eight hexadecimal digits each.
inline std::vector<float> floats_of(const std::string& hex) {
  std::vector<float> out;
  for (size_t i = 0; i + 8 <= hex.size(); i += 8)
    out.push_back(std::bit_cast<float>(static_cast<uint32_t>(std::stoul(hex.substr(i, 8), nullptr, 16))));
  return out;
}

/// |a − b| / |b|; infinite where the sizes differ.
inline double relative_l2(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double difference = 0, size = 0;
  for (size_t j = 0; j < a.size(); ++j) {
    difference += (double{a[j]} - b[j]) * (double{a[j]} - b[j]);
    size += double{b[j]} * b[j];
  }
  return std::sqrt(difference / std::max(size, 1e-30));
}

}  // namespace easel::sampling
