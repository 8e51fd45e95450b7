#include "cli/spelling.h"

#include <algorithm>

namespace easel::cli {

namespace {

// Insertions, deletions, changes and swaps of neighbours (optimal string alignment).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  word = word.substr(0, 80);
  const std::string* best = nullptr;
  size_t least = 0;
  for (const std::string& candidate : candidates) {
    // A beginning counts as close: --guidance for --guidance-scale.
    const bool prefix = word.size() >= 4 && candidate.starts_with(word);
    const size_t d = prefix ? 1 : distance(word, candidate);
    if (d <= 1 + candidate.size() / 4 && (!best || d < least)) {
      best = &candidate;
      least = d;
    }
  }
  return best ? *best : "";
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string near = nearest(word, candidates);
  return near.empty() ? "" : "; did you mean " + near + "?";
}

}  // namespace easel::cli
