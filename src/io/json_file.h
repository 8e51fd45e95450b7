// JSON files and checked access to their values.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace easel::io {

inline constexpr int64_t kMaxInteger = std::numeric_limits<int64_t>::max();

/// Parses JSON text as Python's json module writes it: NaN, Infinity and -Infinity are numbers too.
/// `where` begins every message. Throws io for syntax errors (with the byte), repeated keys, and more than
/// 64 levels of nesting.
nlohmann::json parse_json(std::string_view text, std::string_view where);

/// parse_json of a file of at most `max_bytes`. Throws io.
nlohmann::json read_json_file(const std::string& path, uint64_t max_bytes = 16'000'000);

/// An object of a JSON file with getters that check. Every failure is one line with the file, the key, what was
/// expected and what was found, thrown as Error(io). A key whose value is null counts as absent everywhere.
/// `…_or` getters return the default for an absent key and still check a present one. Copies share the values.
class JsonObject {
 public:
  /// Throws io if the file is not a JSON object.
  static JsonObject from_file(const std::string& path);
  /// `where` names the object in messages.
  JsonObject(nlohmann::json value, std::string where);

  const std::string& where() const noexcept { return where_; }
  const nlohmann::json& json() const noexcept { return *value_; }
  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_array(std::string_view key) const;
  bool is_number(std::string_view key) const;
  bool is_string(std::string_view key) const;
  bool is_object(std::string_view key) const;

  /// Whole numbers in min … max; 3.0 counts as one.
  int64_t integer(std::string_view key, int64_t min, int64_t max = kMaxInteger) const;
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max = kMaxInteger) const;
  std::vector<int64_t> integers(std::string_view key, int64_t min, int64_t max = kMaxInteger) const;
  std::vector<int64_t> integers_or(std::string_view key, std::vector<int64_t> fallback, int64_t min,
                                   int64_t max = kMaxInteger) const;
  /// A list, or a single number as a list of one.
  std::vector<int64_t> integer_or_integers(std::string_view key, int64_t min, int64_t max = kMaxInteger) const;

  /// Any number; number_or and numbers accept infinities but not NaN.
  double number(std::string_view key) const;
  double number_or(std::string_view key, double fallback) const;
  std::vector<double> numbers(std::string_view key) const;

  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string_view fallback) const;
  std::vector<std::string> strings(std::string_view key) const;

  bool boolean(std::string_view key) const;
  bool boolean_or(std::string_view key, bool fallback) const;

  /// A nested object.
  JsonObject object(std::string_view key) const;

  /// Throws io: "<where>: key '<key>': expected <expected>, found <the value>". For checks of one's own.
  [[noreturn]] void fail_key(std::string_view key, std::string_view expected) const;

 private:
  JsonObject(std::shared_ptr<const nlohmann::json> value, std::string where);
  const nlohmann::json* find(std::string_view key) const;
  const nlohmann::json& array(std::string_view key, std::string_view expected) const;
  int64_t checked_integer(const nlohmann::json& value, std::string_view key, int64_t min, int64_t max) const;
  double checked_number(const nlohmann::json& value, std::string_view key) const;

  std::shared_ptr<const nlohmann::json> value_;
  std::string where_;
};

}  // namespace easel::io
