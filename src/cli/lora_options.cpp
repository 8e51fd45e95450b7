#include "cli/lora_options.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/fail.h"
#include "cli/arguments.h"
#include "cli/model_lookup.h"
#include "io/sha256.h"
#include "pipelines/adapters.h"
#include "text/unicode.h"

namespace easel::cli {

namespace fs = std::filesystem;

namespace {

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// Bytes before the data of a safetensors file.
uint64_t header_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  unsigned char length[8] = {};
  if (fs::path(path).extension() != ".safetensors" || !in.read(reinterpret_cast<char*>(length), 8)) return 0;
  uint64_t bytes = 0;
  for (int i = 7; i >= 0; --i) bytes = bytes << 8 | length[i];
  return bytes + 8;
}

}  // namespace

bool take_weight(std::string& text, double& weight) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  try {
    weight = parse_number("", text.substr(colon + 1), -HUGE_VAL);
  } catch (const Error&) {
    return false;
  }
  text.resize(colon);
  return true;
}

Lora parse_lora(const std::string& text, const std::vector<std::string>& folders) {
  Lora out;
  std::string name = text;
  if (!exists(name)) {
    double last = 1, first = 1;
    if (take_weight(name, last)) {
      out.unet_weight = out.text_weight = last;
      if (!exists(name) && take_weight(name, first)) out.unet_weight = first;
    }
    if (const size_t colon = name.rfind(':'); colon != std::string::npos && exists(name.substr(0, colon)))
      fail(ErrorCode::invalid_argument, "--lora {}: expected a number as weight, found \"{}\"",
           printable(name.substr(0, colon), 400), printable(name.substr(colon + 1), 40));
  }
  if (name.empty()) fail(ErrorCode::invalid_argument, "--lora: expected FILE[:WEIGHT], found \"{}\"", printable(text));
  try {
    out.path = pipelines::find_lora(name, folders);
  } catch (const Error& error) {
    throw Error(error.code(), std::string("--lora: ") + error.what());
  }
  return out;
}

std::string format_lora(const Lora& lora) {
  std::string out = text::utf8_lossy(portable_path(lora.path));
  out += fmt::format(":{}", lora.unet_weight);
  if (lora.text_weight != lora.unet_weight) out += fmt::format(":{}", lora.text_weight);
  return out;
}

std::string LoraHashes::list(const std::vector<Lora>& loras) {
  std::string out;
  for (const Lora& lora : loras) {
    std::string& hash = by_path_[lora.path];
    std::error_code error;
    if (hash.empty() && fs::is_regular_file(lora.path, error))
      hash = io::sha256_of_file(lora.path, {}, header_bytes(lora.path)).substr(0, 12);
    if (hash.empty()) continue;  // a folder
    out +=
        fmt::format("{}{}: {}", out.empty() ? "" : ", ", text::utf8_lossy(fs::path(lora.path).stem().string()), hash);
  }
  return out;
}

}  // namespace easel::cli
