// Of several measurements of one thing.
#pragma once

#include <algorithm>
#include <vector>

namespace easel::cli {

/// The middle value, or the mean of the two middle ones; 0 of nothing.
inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// The smallest value: for times, the one with the least disturbance; 0 of nothing.
inline double best(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::min_element(values.begin(), values.end());
}

}  // namespace easel::cli
