// Reading the fields of a scheduler_config.json, each checked where it is read.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace easel::sampling {

/// The fields of a configuration, with defaults. Fields named in _use_default_values count as left out.
/// Every reader throws io "scheduler_config.json: FIELD: expected …, found …", unsupported for unknown choices.
class SchedulerConfig {
 public:
  /// Throws io if `json` is not an object.
  explicit SchedulerConfig(nlohmann::json json);

  bool boolean(const char* field, bool fallback) const;
  int64_t integer(const char* field, int64_t fallback, int64_t min, int64_t max) const;
  /// Not NaN; infinite only where the limits are.
  double number(const char* field, double fallback, double min, double max) const;
  std::optional<double> optional_number(const char* field, double min, double max) const;
  /// One of `allowed`.
  std::string choice(const char* field, const char* fallback, std::initializer_list<const char*> allowed) const;
  /// As choice, but null and left out are "".
  std::string optional_choice(const char* field, std::initializer_list<const char*> allowed) const;
  /// Empty where null or left out.
  std::vector<float> floats(const char* field, size_t max_size) const;
  /// Empty where null or left out, or an empty list.
  std::vector<int> whole_numbers(const char* field) const;
  /// Whether it is there and not null.
  bool has(const char* field) const;
  void set(const char* field, nlohmann::json value) { json_[field] = std::move(value); }
  /// Sets a field that is left out.
  void set_default(const char* field, nlohmann::json value) {
    if (!find(field)) set(field, std::move(value));
  }

 private:
  const nlohmann::json* find(const char* field) const;
  nlohmann::json json_;
};

}  // namespace easel::sampling
