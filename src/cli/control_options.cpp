#include "cli/control_options.h"

#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "cli/model_lookup.h"
#include "cli/picture_options.h"
#include "io/edges.h"
#include "io/sha256.h"
#include "text/unicode.h"

namespace easel::cli {

namespace fs = std::filesystem;

const char* const kControlHelp =
    R"(Usage: easel generate [PROMPT] --control-net NET --control-image FILE [options]
Steers what is drawn by a picture: its edges, lines, depth or poses. Each option may be given
several times: the first picture, scale and so on go with the first network. What networks give is
added up. A scale, start, end or preprocessor that is given once counts for all of them.
  --control-net FILE|DIR|NAME   a ControlNet: a diffusers folder, or a file in diffusers' or the
                                original names; NAME is looked up as models are (--model-dir)
  --control-image FILE          the picture it goes by (PNG, JPEG, WebP); it is resized to the size
                                that is made; with --padding-mask-crop, to the same part
  --control-preprocess NAME     canny or lineart: makes it from an ordinary picture first (none);
                                easel preprocess has more options
  --control-scale X             how strongly it acts (1)
  --control-block-scales A,B,…  and each of its residuals: the way down in order, the middle last
                                (13 numbers for Stable Diffusion 1 and 2, 10 for XL)
  --control-start X, --control-end X    the part of the steps in which it acts, 0 to 1 (all)
  --control-guess-mode          steer the prompt alone, not the negative one, and the upper levels
                                less: for short or empty prompts, with a guidance scale of 3 to 5
It goes with --init-image, --mask, --hires-scale and everything else: docs/CONTROL.md.
)";

namespace {

template <typename T>
const T* entry(const std::vector<T>& values, size_t index) {
  if (values.empty()) return nullptr;
  return &values[values.size() == 1 ? 0 : index];
}

template <typename T>
void check_count(const char* option, const std::vector<T>& values, size_t nets) {
  if (values.size() > 1 && values.size() != nets)
    fail(ErrorCode::invalid_argument, "{}: expected one, or {} for as many networks, found {}", option, nets,
         values.size());
}

std::vector<double> parse_scales(const std::string& text) {
  std::vector<double> out;
  for (const std::string& word : split_commas(text))
    out.push_back(parse_number("--control-block-scales", word, -HUGE_VAL));
  return out;
}

PictureSource control_image(const std::string& path, const std::string& preprocess) {
  if (preprocess != "none" && preprocess != "canny" && preprocess != "lineart")
    fail(ErrorCode::invalid_argument, "--control-preprocess: expected canny, lineart or none, found \"{}\"",
         printable(preprocess, 40));
  PictureSource out = picture_source("--control-image", path);
  out.read = [read = out.read, preprocess] {
    RgbPicture picture = read();
    if (preprocess == "none") return picture;
    const io::Image image{picture.width, picture.height, 3, std::move(picture.rgb)};
    io::Image made = preprocess == "canny" ? io::canny(image) : io::lineart(image);
    return RgbPicture{made.width, made.height, std::move(made.pixels)};
  };
  return out;
}

}  // namespace

void ControlArguments::add_to(Arguments& a) {
  a.topic("control", kControlHelp);
  a.texts("--control-net", control_net);
  a.texts("--control-image", control_image);
  a.texts("--control-preprocess", control_preprocess);
  a.numbers("--control-scale", control_scale, -HUGE_VAL);
  a.texts("--control-block-scales", control_block_scales);
  a.numbers("--control-start", control_start, 0);
  a.numbers("--control-end", control_end, 0);
  a.optional_flag("--control-guess-mode", control_guess_mode);
}

ControlArguments ControlArguments::over(const ControlArguments& other, const std::string& where,
                                        const std::function<void(const std::string&)>& warn) const {
  if (!control_net.empty() || other.control_net.empty()) return *this;
  ControlArguments out = *this;
  const auto take = [](auto& mine, const auto& theirs) {
    if (mine.empty()) mine = theirs;
  };
  out.control_net.clear();
  for (const std::string& path : other.control_net) out.control_net.push_back(expand_home(path));
  take(out.control_preprocess, other.control_preprocess);
  take(out.control_scale, other.control_scale);
  take(out.control_block_scales, other.control_block_scales);
  take(out.control_start, other.control_start);
  take(out.control_end, other.control_end);
  if (!out.control_guess_mode) out.control_guess_mode = other.control_guess_mode;
  if (!out.control_image.empty()) return out;
  for (size_t i = 0; i < other.control_image.size(); ++i) {
    const std::string file = expand_home(other.control_image[i]);
    std::error_code error;
    if (!fs::is_regular_file(file, error))
      fail(ErrorCode::io, "{}: the picture went by {}, which is not there; name it with --control-image", where,
           printable(file, 400));
    if (i < other.control_image_sha256.size() && io::sha256_of_file(file) != other.control_image_sha256[i])
      warn(fmt::format("--control-image {}: not what it was when the picture of --from-image was made",
                       printable(file, 400)));
    out.control_image.push_back(file);
  }
  return out;
}

std::vector<ControlNetInput> ControlArguments::inputs(const std::optional<std::string>& model_dir) {
  const size_t nets = control_net.size();
  const char* alone = !control_image.empty()          ? "--control-image"
                      : !control_preprocess.empty()   ? "--control-preprocess"
                      : !control_scale.empty()        ? "--control-scale"
                      : !control_block_scales.empty() ? "--control-block-scales"
                      : !control_start.empty()        ? "--control-start"
                      : !control_end.empty()          ? "--control-end"
                      : control_guess_mode            ? "--control-guess-mode"
                                                      : nullptr;
  if (nets == 0 && alone) fail(ErrorCode::invalid_argument, "{}: expected with --control-net, found none", alone);
  if (control_image.size() != nets)
    fail(ErrorCode::invalid_argument, "--control-image: expected {}, one for each --control-net, found {}", nets,
         control_image.size());
  check_count("--control-preprocess", control_preprocess, nets);
  check_count("--control-scale", control_scale, nets);
  check_count("--control-block-scales", control_block_scales, nets);
  check_count("--control-start", control_start, nets);
  check_count("--control-end", control_end, nets);
  std::vector<ControlNetInput> out;
  for (size_t i = 0; i < nets; ++i) {
    control_net[i] = find_file("--control-net", control_net[i], model_dir);
    const std::string* preprocess = entry(control_preprocess, i);
    ControlNetInput input;
    input.path = control_net[i];
    input.image = cli::control_image(expand_home(control_image[i]), preprocess ? *preprocess : "none");
    if (const double* scale = entry(control_scale, i)) input.scale = *scale;
    if (const std::string* scales = entry(control_block_scales, i)) input.block_scales = parse_scales(*scales);
    if (const double* start = entry(control_start, i)) input.start = *start;
    if (const double* end = entry(control_end, i)) input.end = *end;
    out.push_back(std::move(input));
  }
  return out;
}

ControlArguments ControlArguments::described() const {
  ControlArguments out = *this;
  out.control_image_sha256.clear();
  for (const std::string& path : control_image)
    out.control_image_sha256.push_back(io::sha256_of_file(expand_home(path)));
  for (std::vector<std::string>* paths : {&out.control_net, &out.control_image})
    for (std::string& path : *paths) path = text::utf8_lossy(portable_path(expand_home(path)));
  return out;
}

std::vector<std::pair<std::string, std::string>> a1111_controls(const ControlArguments& arguments) {
  std::vector<std::pair<std::string, std::string>> out;
  for (size_t i = 0; i < arguments.control_net.size(); ++i) {
    const auto number = [&](const std::vector<double>& values, double fallback) {
      const double* value = entry(values, i);
      return value ? *value : fallback;
    };
    const std::string* module = entry(arguments.control_preprocess, i);
    out.emplace_back(
        fmt::format("ControlNet {}", i),
        fmt::format("Module: {}, Model: {}, Weight: {}, Resize Mode: Just Resize, Guidance Start: {}, "
                    "Guidance End: {}, Control Mode: {}",
                    module ? *module : "none", fs::path(arguments.control_net[i]).stem().string(),
                    number(arguments.control_scale, 1), number(arguments.control_start, 0),
                    number(arguments.control_end, 1),
                    arguments.control_guess_mode.value_or(false) ? "ControlNet is more important" : "Balanced"));
  }
  return out;
}

}  // namespace easel::cli
