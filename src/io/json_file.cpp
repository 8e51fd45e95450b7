#include "io/json_file.h"

#include <cmath>
#include <set>

#include "base/fail.h"
#include "io/mapped_file.h"

namespace easel::io {

namespace {

constexpr int kMaxDepth = 64;

// What Python writes for the numbers JSON lacks, and the strings that stand for them while parsing.
struct Literal {
  std::string_view text;
  std::string_view stand_in;
  double value;
};
constexpr Literal kLiterals[] = {
    {"-Infinity", "\"\\u0001-Infinity\"", -std::numeric_limits<double>::infinity()},
    {"Infinity", "\"\\u0001Infinity\"", std::numeric_limits<double>::infinity()},
    {"NaN", "\"\\u0001NaN\"", std::numeric_limits<double>::quiet_NaN()},
};

/// The text with those literals replaced outside strings.
std::string without_literals(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (size_t i = 0; i < text.size();) {
    if (in_string) {
      if (text[i] == '\\' && i + 1 < text.size())
        out += text[i++];
      else if (text[i] == '"')
        in_string = false;
      out += text[i++];
      continue;
    }
    const Literal* found = nullptr;
    for (const Literal& literal : kLiterals)
      if (!found && text.substr(i).starts_with(literal.text)) found = &literal;
    if (found) {
      out += found->stand_in;
      i += found->text.size();
      continue;
    }
    in_string = text[i] == '"';
    out += text[i++];
  }
  return out;
}

std::string shown(const nlohmann::json* value) {
  if (!value || value->is_null()) return "nothing";
  if (value->is_object()) return "an object";
  if (value->is_array() && value->size() > 8) return fmt::format("a list of {}", value->size());
  return printable(value->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string range_text(int64_t min, int64_t max) {
  if (max == kMaxInteger) return fmt::format("a whole number of at least {}", min);
  return fmt::format("a whole number from {} to {}", min, max);
}

}  // namespace

nlohmann::json parse_json(std::string_view text, std::string_view where_view) {
  const std::string where = printable(where_view, 300);
  const bool literals = text.find("Infinity") != text.npos || text.find("NaN") != text.npos;
  const std::string replaced = literals ? without_literals(text) : std::string();
  if (literals) text = replaced;

  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        if (depth >= kMaxDepth)
          fail(ErrorCode::io, "{}: expected at most {} levels of nesting, found more", where, kMaxDepth);
        if (event == Event::object_start) keys.emplace_back();
        break;
      case Event::object_end: keys.pop_back(); break;
      case Event::key:
        if (!keys.back().insert(value.get_ref<const std::string&>()).second)
          fail(ErrorCode::io, "{}: key '{}' occurs twice", where, printable(value.get_ref<const std::string&>()));
        break;
      case Event::value:
        if (literals && value.is_string() && value.get_ref<const std::string&>().starts_with('\x01'))
          for (const Literal& literal : kLiterals)
            if (value.get_ref<const std::string&>().substr(1) == literal.text) {
              value = literal.value;
              break;
            }
        break;
      default: break;
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text.begin(), text.end(), check);
  } catch (const nlohmann::json::parse_error& error) {
    std::string message = error.what();
    if (const size_t reason = message.find(": "); reason != std::string::npos) message = message.substr(reason + 2);
    fail(ErrorCode::io, "{}: expected JSON, found an error at byte {}: {}", where, error.byte, printable(message, 200));
  } catch (const nlohmann::json::exception& error) {  // a number beyond the range of double
    fail(ErrorCode::io, "{}: expected JSON: {}", where, printable(error.what(), 200));
  }
}

nlohmann::json read_json_file(const std::string& path, uint64_t max_bytes) {
  return parse_json(read_file(path, max_bytes), path);
}

JsonObject JsonObject::from_file(const std::string& path) { return {read_json_file(path), printable(path, 300)}; }

JsonObject::JsonObject(nlohmann::json value, std::string where)
    : JsonObject(std::make_shared<const nlohmann::json>(std::move(value)), std::move(where)) {}

JsonObject::JsonObject(std::shared_ptr<const nlohmann::json> value, std::string where)
    : value_(std::move(value)), where_(std::move(where)) {
  if (!value_->is_object()) fail(ErrorCode::io, "{}: expected a JSON object, found {}", where_, shown(value_.get()));
}

const nlohmann::json* JsonObject::find(std::string_view key) const {
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

void JsonObject::fail_key(std::string_view key, std::string_view expected) const {
  fail(ErrorCode::io, "{}: key '{}': expected {}, found {}", where_, printable(key), expected, shown(find(key)));
}

bool JsonObject::is_array(std::string_view key) const { return find(key) && find(key)->is_array(); }
bool JsonObject::is_number(std::string_view key) const { return find(key) && find(key)->is_number(); }
bool JsonObject::is_string(std::string_view key) const { return find(key) && find(key)->is_string(); }
bool JsonObject::is_object(std::string_view key) const { return find(key) && find(key)->is_object(); }

const nlohmann::json& JsonObject::array(std::string_view key, std::string_view expected) const {
  const nlohmann::json* value = find(key);
  if (!value || !value->is_array()) fail_key(key, expected);
  return *value;
}

int64_t JsonObject::checked_integer(const nlohmann::json& value, std::string_view key, int64_t min, int64_t max) const {
  int64_t number = 0;
  bool whole = false;
  if (value.is_number_unsigned()) {
    whole = value.get<uint64_t>() <= static_cast<uint64_t>(kMaxInteger);
    number = static_cast<int64_t>(value.get<uint64_t>());
  } else if (value.is_number_integer()) {
    whole = true;
    number = value.get<int64_t>();
  } else if (value.is_number_float()) {
    const double real = value.get<double>();
    whole = std::abs(real) < 0x1p53 && real == std::floor(real);
    if (whole) number = static_cast<int64_t>(real);
  }
  if (!whole || number < min || number > max) {
    const bool listed = find(key) && find(key)->is_array();
    fail(ErrorCode::io, "{}: key '{}': expected {}{}, found {}", where_, printable(key), listed ? "a list of " : "",
         range_text(min, max), shown(listed ? find(key) : &value));
  }
  return number;
}

int64_t JsonObject::integer(std::string_view key, int64_t min, int64_t max) const {
  static const nlohmann::json absent;
  const nlohmann::json* value = find(key);
  return checked_integer(value ? *value : absent, key, min, max);
}

int64_t JsonObject::integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

std::vector<int64_t> JsonObject::integers(std::string_view key, int64_t min, int64_t max) const {
  std::vector<int64_t> out;
  for (const auto& value : array(key, "a list of whole numbers")) out.push_back(checked_integer(value, key, min, max));
  return out;
}

std::vector<int64_t> JsonObject::integers_or(std::string_view key, std::vector<int64_t> fallback, int64_t min,
                                             int64_t max) const {
  return has(key) ? integers(key, min, max) : std::move(fallback);
}

std::vector<int64_t> JsonObject::integer_or_integers(std::string_view key, int64_t min, int64_t max) const {
  if (is_array(key)) return integers(key, min, max);
  return {integer(key, min, max)};
}

double JsonObject::checked_number(const nlohmann::json& value, std::string_view key) const {
  if (!value.is_number() || std::isnan(value.get<double>())) fail_key(key, "a number");
  return value.get<double>();
}

double JsonObject::number(std::string_view key) const {
  if (!has(key)) fail_key(key, "a number");
  return checked_number(*find(key), key);
}

double JsonObject::number_or(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

std::vector<double> JsonObject::numbers(std::string_view key) const {
  std::vector<double> out;
  for (const auto& value : array(key, "a list of numbers")) out.push_back(checked_number(value, key));
  return out;
}

std::string JsonObject::string(std::string_view key) const {
  if (!is_string(key)) fail_key(key, "a string");
  return find(key)->get<std::string>();
}

std::string JsonObject::string_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? string(key) : std::string(fallback);
}

std::vector<std::string> JsonObject::strings(std::string_view key) const {
  std::vector<std::string> out;
  for (const auto& value : array(key, "a list of strings")) {
    if (!value.is_string()) fail_key(key, "a list of strings");
    out.push_back(value.get<std::string>());
  }
  return out;
}

bool JsonObject::boolean(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (!value || !value->is_boolean()) fail_key(key, "true or false");
  return value->get<bool>();
}

bool JsonObject::boolean_or(std::string_view key, bool fallback) const { return has(key) ? boolean(key) : fallback; }

JsonObject JsonObject::object(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (!value || !value->is_object()) fail_key(key, "an object");
  return {std::shared_ptr<const nlohmann::json>(value_, value), fmt::format("{}: {}", where_, printable(key))};
}

}  // namespace easel::io
