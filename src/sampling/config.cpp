#include "sampling/config.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace easel::sampling {

namespace {

using nlohmann::json;

std::string shown(const json& value) {
  if (value.is_number_float() && !std::isfinite(value.get<double>()))  // JSON has no word for it, Python does
    return fmt::format("{}", value.get<double>());
  return printable(value.dump(-1, ' ', false, json::error_handler_t::replace), 40);
}

template <typename... Args>
[[noreturn]] void bad_field(const char* field, const json& value, fmt::format_string<Args...> expected,
                            Args&&... args) {
  fail(ErrorCode::io, "scheduler_config.json: {}: expected {}, found {}", field,
       fmt::format(expected, std::forward<Args>(args)...), shown(value));
}

std::string list_of(std::initializer_list<const char*> names) {
  std::string out;
  for (const char* name : names) out += (out.empty() ? "" : ", ") + std::string(name);
  return out;
}

}  // namespace

SchedulerConfig::SchedulerConfig(json value) : json_(std::move(value)) {
  if (!json_.is_object()) fail(ErrorCode::io, "scheduler_config.json: expected a JSON object, found {}", shown(json_));
  const auto defaults = json_.find("_use_default_values");
  if (defaults == json_.end()) return;
  const json names = *defaults;
  if (names.is_array())
    for (const json& name : names)
      if (name.is_string()) json_.erase(name.get_ref<const std::string&>());
}

const json* SchedulerConfig::find(const char* field) const {
  const auto found = json_.find(field);
  return found == json_.end() ? nullptr : &*found;
}

bool SchedulerConfig::boolean(const char* field, bool fallback) const {
  const json* value = find(field);
  if (!value) return fallback;
  if (value->is_null()) return false;  // Python's None is false
  if (!value->is_boolean()) bad_field(field, *value, "true or false");
  return value->get<bool>();
}

int64_t SchedulerConfig::integer(const char* field, int64_t fallback, int64_t min, int64_t max) const {
  const json* value = find(field);
  if (!value) return fallback;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) || number != std::floor(number))
    bad_field(field, *value, "a whole number from {} to {}", min, max);
  return static_cast<int64_t>(number);
}

double SchedulerConfig::number(const char* field, double fallback, double min, double max) const {
  const json* value = find(field);
  if (!value) return fallback;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= min && number <= max)) bad_field(field, *value, "a number from {} to {}", min, max);
  return number;
}

std::optional<double> SchedulerConfig::optional_number(const char* field, double min, double max) const {
  const json* value = find(field);
  if (!value || value->is_null()) return std::nullopt;
  return number(field, 0, min, max);
}

std::string SchedulerConfig::choice(const char* field, const char* fallback,
                                    std::initializer_list<const char*> allowed) const {
  const json* value = find(field);
  if (!value) return fallback;
  if (!value->is_string()) bad_field(field, *value, "one of {}", list_of(allowed));
  const auto& text = value->get_ref<const std::string&>();
  for (const char* name : allowed)
    if (text == name) return text;
  fail(ErrorCode::unsupported, "scheduler_config.json: {}: expected one of {}, found {}", field, list_of(allowed),
       shown(*value));
}

std::string SchedulerConfig::optional_choice(const char* field, std::initializer_list<const char*> allowed) const {
  const json* value = find(field);
  return !value || value->is_null() ? std::string() : choice(field, "", allowed);
}

std::vector<float> SchedulerConfig::floats(const char* field, size_t max_size) const {
  const json* value = find(field);
  if (!value || value->is_null()) return {};
  if (!value->is_array() || value->empty() || value->size() > max_size)
    bad_field(field, *value, "a list of 1 to {} numbers", max_size);
  std::vector<float> out;
  out.reserve(value->size());
  for (const json& item : *value) {
    if (!item.is_number() || !std::isfinite(item.get<double>()))
      fail(ErrorCode::io, "scheduler_config.json: {}[{}]: expected a number, found {}", field, out.size(), shown(item));
    out.push_back(item.get<float>());
  }
  return out;
}

std::vector<int> SchedulerConfig::whole_numbers(const char* field) const {
  const json* value = find(field);
  if (!value || value->is_null()) return {};
  if (!value->is_array()) bad_field(field, *value, "a list of whole numbers");
  std::vector<int> out;
  for (const json& item : *value) {
    const double number = item.is_number() ? item.get<double>() : std::nan("");
    if (!(std::fabs(number) <= 1e6) || number != std::floor(number))
      fail(ErrorCode::io, "scheduler_config.json: {}[{}]: expected a whole number, found {}", field, out.size(),
           shown(item));
    out.push_back(static_cast<int>(number));
  }
  return out;
}

bool SchedulerConfig::has(const char* field) const {
  const json* value = find(field);
  return value && !value->is_null();
}

}  // namespace easel::sampling
