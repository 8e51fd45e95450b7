#include "cli/ip_adapter_options.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "cli/lora_options.h"
#include "cli/model_lookup.h"
#include "cli/picture_options.h"
#include "io/sha256.h"
#include "text/unicode.h"

namespace easel::cli {

namespace fs = std::filesystem;

const char* const kIpAdapterHelp =
    R"(Usage: easel generate [PROMPT] --ip-adapter FILE[:SCALE] --ip-adapter-image FILE [options]
Pictures as prompts, beside the text: the result takes subject and style from them. An adapter is a
file for one family of models (ip-adapter_sd15, ip-adapter-plus_sd15, ip-adapter_sdxl_vit-h, …).
  --ip-adapter FILE[:SCALE]     .safetensors or .bin; how strongly it acts (1); several act together
  --ip-adapter-image FILE[,FILE…]    what it sees. With one adapter all pictures are its own; with
                                several, each takes as many options as there are adapters, in their
                                order, and further pictures for one stand behind commas
  --image-encoder DIR|FILE      CLIP's image encoder that the adapter was trained with (ViT-H, or
                                ViT-bigG for ip-adapter_sdxl); without it the folder image_encoder
                                beside the adapter, or that of the model
  --ip-adapter-blocks NAME=X,…  it acts in these parts of the UNet alone, X times its scale: down,
                                mid, up, up.block_0, up.block_0.1 (block and its attention), …;
                                with SDXL up.block_0.1=1 takes the style, down.block_2.1=1 layout
  --ip-adapter-start X, --ip-adapter-end X    the part of the noise levels, 0 to 1, in which it acts
The last four are given once for all adapters, or once for each in their order.
All of them go with --init-image, --mask, --hires-scale, --lora and --pag-scale. The text in a
picture's file names adapters and pictures, so that --from-image finds them again.
)";

namespace {

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

struct Weighted {
  std::string path;
  double scale = 1;
};

Weighted parse_adapter(const std::string& text) {
  Weighted out{expand_home(text)};
  if (!exists(out.path)) take_weight(out.path, out.scale);
  if (out.path.empty())
    fail(ErrorCode::invalid_argument, "--ip-adapter: expected FILE[:SCALE], found \"{}\"", printable(text, 400));
  if (const size_t colon = out.path.rfind(':');
      !exists(out.path) && colon != std::string::npos && exists(out.path.substr(0, colon)))
    fail(ErrorCode::invalid_argument, "--ip-adapter {}: expected a number as scale, found \"{}\"",
         printable(out.path.substr(0, colon), 400), printable(out.path.substr(colon + 1), 40));
  return out;
}

// "a.png,b.png"; a name may hold commas itself.
std::vector<std::string> files_of(const std::string& text) {
  const std::string whole = expand_home(text);
  if (exists(whole)) return {whole};
  std::vector<std::string> out = split_commas(text);
  for (std::string& path : out) {
    if (path.empty())
      fail(ErrorCode::invalid_argument, "--ip-adapter-image: expected FILE[,FILE…], found \"{}\"",
           printable(text, 400));
    path = expand_home(path);
  }
  return out;
}

std::vector<std::pair<std::string, double>> parse_blocks(const std::string& text) {
  std::vector<std::pair<std::string, double>> out;
  for (const std::string& part : split_commas(text)) {
    const size_t equal = part.find('=');
    if (equal == std::string::npos || equal == 0)
      fail(ErrorCode::invalid_argument, "--ip-adapter-blocks: expected NAME=X,…, such as up.block_0.1=1, found \"{}\"",
           printable(text, 80));
    out.emplace_back(part.substr(0, equal), parse_number("--ip-adapter-blocks", part.substr(equal + 1), -HUGE_VAL));
  }
  return out;
}

// What is given for adapter i of several: nullptr for nothing.
const std::string* nth(const char* option, const std::vector<std::string>& given, size_t i, size_t adapters) {
  if (given.size() > 1 && given.size() != adapters)
    fail(ErrorCode::invalid_argument, "{}: expected it once, or once for each of {} adapters, found it {} times",
         option, adapters, given.size());
  return given.empty() ? nullptr : &given[given.size() == 1 ? 0 : i];
}

std::string hash_of(const std::string& path) { return io::sha256_of_file(path).substr(0, 12); }

std::string portable_text(const std::string& path) { return text::utf8_lossy(portable_path(path)); }

}  // namespace

void IpAdapterArguments::add_to(Arguments& a) {
  a.texts("--ip-adapter", adapters);
  a.texts("--ip-adapter-image", images);
  a.texts("--image-encoder", image_encoders);
  a.texts("--ip-adapter-blocks", blocks);
  a.texts("--ip-adapter-start", starts);
  a.texts("--ip-adapter-end", ends);
}

IpAdapterArguments IpAdapterArguments::over(const IpAdapterArguments& picture) const {
  if (!adapters.empty()) return *this;
  IpAdapterArguments out = *this;
  each(
      [](const char*, auto& field, const auto& fallback) {
        if (field.empty()) field = fallback;
      },
      out, picture);
  return out;
}

std::vector<IpAdapter> IpAdapterArguments::ip_adapters() const {
  const char* alone = nullptr;
  for (const auto& [option, given] :
       {std::pair("--ip-adapter-image", &images), std::pair("--image-encoder", &image_encoders),
        std::pair("--ip-adapter-blocks", &blocks), std::pair("--ip-adapter-start", &starts),
        std::pair("--ip-adapter-end", &ends)})
    if (!alone && !given->empty()) alone = option;
  if (adapters.empty() && alone) fail(ErrorCode::invalid_argument, "{}: expected with --ip-adapter, found none", alone);
  const size_t count = adapters.size();
  if (images.size() != count && (count > 1 || images.empty()) && count > 0)
    fail(ErrorCode::invalid_argument,
         "--ip-adapter-image: expected it once for each of {} adapters, in their order, found it {} times", count,
         images.size());
  std::vector<IpAdapter> out;
  for (size_t i = 0; i < count; ++i) {
    const Weighted adapter = parse_adapter(adapters[i]);
    if (!exists(adapter.path))
      fail(ErrorCode::io, "--ip-adapter {}: expected a file, found nothing", printable(adapter.path, 400));
    IpAdapter made;
    made.path = adapter.path;
    made.scale = adapter.scale;
    for (size_t k = 0; k < images.size(); ++k)
      if (count == 1 || k == i)
        for (const std::string& path : files_of(images[k]))
          made.images.push_back(picture_source("--ip-adapter-image", path));
    if (const std::string* path = nth("--image-encoder", image_encoders, i, count))
      made.image_encoder = expand_home(*path);
    if (const std::string* text = nth("--ip-adapter-blocks", blocks, i, count)) made.block_scales = parse_blocks(*text);
    if (const std::string* text = nth("--ip-adapter-start", starts, i, count))
      made.start = parse_number("--ip-adapter-start", *text, 0);
    if (const std::string* text = nth("--ip-adapter-end", ends, i, count))
      made.end = parse_number("--ip-adapter-end", *text, 0);
    out.push_back(std::move(made));
  }
  return out;
}

IpAdapterArguments IpAdapterArguments::portable() const {
  IpAdapterArguments out = *this;
  out.hashes.clear();
  for (std::string& text : out.adapters) {
    const Weighted adapter = parse_adapter(text);
    out.hashes.push_back(hash_of(adapter.path));
    text = fmt::format("{}:{}", portable_text(adapter.path), adapter.scale);
  }
  for (std::string& text : out.images) {
    std::vector<std::string> files = files_of(text);
    for (std::string& path : files) {
      out.hashes.push_back(hash_of(path));
      path = portable_text(path);
    }
    text = fmt::format("{}", fmt::join(files, ","));
  }
  for (std::string& path : out.image_encoders) path = portable_text(expand_home(path));
  return out;
}

void IpAdapterArguments::check_hashes(const std::string& where,
                                      const std::function<void(const std::string&)>& warn) const {
  std::vector<std::pair<const char*, std::string>> files;
  for (const std::string& text : adapters) files.emplace_back("--ip-adapter", parse_adapter(text).path);
  for (const std::string& text : images)
    for (const std::string& path : files_of(text)) files.emplace_back("--ip-adapter-image", path);
  for (size_t i = 0; i < files.size(); ++i) {
    const auto& [option, path] = files[i];
    std::error_code error;
    if (!fs::is_regular_file(path, error))
      fail(ErrorCode::io, "{}: the picture was made with {}, which is not there; name it with {}", where,
           printable(path, 400), option);
    if (i < hashes.size() && files.size() == hashes.size() && hash_of(path) != hashes[i])
      warn(fmt::format("{} {}: not what it was when the picture of --from-image was made", option,
                       printable(path, 400)));
  }
}

}  // namespace easel::cli
