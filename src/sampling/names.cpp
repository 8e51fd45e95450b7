#include "sampling/names.h"

#include <algorithm>
#include <utility>

namespace easel::sampling {

namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string normalized(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '-' || c == ' ')
      out += '_';
    else
      out += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  return out;
}

std::string near_names(const std::string& wanted, const std::vector<std::string>& names) {
  std::vector<std::pair<size_t, const std::string*>> ranked;
  for (const std::string& name : names) {
    const std::string key = normalized(name);
    const bool part = wanted.size() >= 3 && key.find(wanted) != std::string::npos;
    const size_t distance = edit_distance(std::string_view(wanted).substr(0, 80), key);
    if (part || distance <= 1 + key.size() / 4) ranked.emplace_back(part ? 1 : distance, &name);
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::string out;
  for (size_t i = 0; i < ranked.size() && i < 3; ++i) out += (i ? ", " : "; did you mean ") + *ranked[i].second;
  if (!out.empty()) return out + "?";
  for (const std::string& name : names) out += (out.empty() ? "; known: " : ", ") + name;
  return out;
}

}  // namespace easel::sampling
