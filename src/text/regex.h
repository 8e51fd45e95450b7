// Regular expressions over UTF-8, by PCRE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace easel::text {

/// A compiled pattern with Unicode properties. Copies share it; it may be used from several threads.
class Regex {
 public:
  /// Throws internal if the pattern is malformed.
  explicit Regex(const std::string& pattern);

  /// All matches from left to right, without overlap, as parts of `text`, which must be well-formed UTF-8.
  std::vector<std::string_view> find_all(std::string_view text) const;

 private:
  std::shared_ptr<void> code_;
};

}  // namespace easel::text
