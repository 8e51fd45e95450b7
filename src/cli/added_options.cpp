#include "cli/added_options.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/fail.h"

namespace easel::cli {

namespace {

constexpr int64_t kMaxSide = int64_t{1} << 24;

std::string option_name(const char* field) {
  std::string out = std::string("--") + field;
  std::replace(out.begin(), out.end(), '_', '-');
  return out;
}

struct Adder {
  Arguments& arguments;
  void operator()(const char* name, std::optional<std::string>& field) const {
    arguments.text(option_name(name), field);
  }
  void operator()(const char* name, std::optional<double>& field) const {
    arguments.number(option_name(name), field, -HUGE_VAL);
  }
};

// "1024x768" with 'x', "0,16" with ','.
std::pair<int64_t, int64_t> parse_pair(const char* field, const std::string& text, char separator) {
  const std::string option = option_name(field);
  const size_t at = text.find(separator);
  if (at == std::string::npos)
    fail(ErrorCode::invalid_argument, "{}: expected {}, found \"{}\"", option,
         separator == 'x' ? "WIDTHxHEIGHT" : "TOP,LEFT", printable(text, 40));
  return {parse_whole(option, text.substr(0, at), 0, kMaxSide), parse_whole(option, text.substr(at + 1), 0, kMaxSide)};
}

// What is not given is left as it is.
void read_size(const char* original_name, const std::optional<std::string>& original, const char* crop_name,
               const std::optional<std::string>& crop, const char* target_name,
               const std::optional<std::string>& target, SizeConditions& out) {
  if (original) std::tie(out.original_width, out.original_height) = parse_pair(original_name, *original, 'x');
  if (crop) std::tie(out.crop_top, out.crop_left) = parse_pair(crop_name, *crop, ',');
  if (target) std::tie(out.target_width, out.target_height) = parse_pair(target_name, *target, 'x');
}

}  // namespace

void AddedArguments::add_to(Arguments& arguments) { each(Adder{arguments}, *this); }

AddedArguments AddedArguments::over(const AddedArguments& other) const {
  AddedArguments out = *this;
  each(
      [](const char*, auto& field, const auto& fallback) {
        if (!field) field = fallback;
      },
      out, other);
  return out;
}

void AddedArguments::apply(TextToImageRequest& request) const {
  AddedConditions& added = request.added;
  read_size("original_size", original_size, "crops_coords_top_left", crops_coords_top_left, "target_size", target_size,
            added.size);
  if (negative_original_size || negative_crops_coords_top_left || negative_target_size) {
    added.negative_size = added.size;
    read_size("negative_original_size", negative_original_size, "negative_crops_coords_top_left",
              negative_crops_coords_top_left, "negative_target_size", negative_target_size, *added.negative_size);
  }
  added.aesthetic_score = aesthetic_score.value_or(added.aesthetic_score);
  added.negative_aesthetic_score = negative_aesthetic_score.value_or(added.negative_aesthetic_score);
}

}  // namespace easel::cli
