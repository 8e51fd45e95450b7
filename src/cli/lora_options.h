// --lora FILE[:WEIGHT[:TEXT_WEIGHT]], and what a picture's file says about it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <easel/lora.h>

namespace easel::cli {

/// "style.safetensors", "style:0.8", "style:1:0.5": a file, folder or name below one of `folders`, and the weights of
/// the UNet and the text encoders; a single weight is that of both. Lora::path is what was found. Throws
/// invalid_argument or io, beginning with --lora.
Lora parse_lora(const std::string& text, const std::vector<std::string>& folders);

/// Takes ":0.8" off the end of a text. A path may hold colons, so what is no number stays; then false.
bool take_weight(std::string& text, double& weight);

/// The same for a file that need not be there: the form that parse_lora() reads, with a portable path.
std::string format_lora(const Lora& lora);

/// "name: hash, …" as the A1111 web UI writes it behind "Lora hashes": the first twelve digits of SHA-256 over the data
/// of a safetensors file, without its header, or over all of another file. Hashes are kept from picture to picture.
class LoraHashes {
 public:
  std::string list(const std::vector<Lora>& loras);

 private:
  std::map<std::string, std::string> by_path_;
};

}  // namespace easel::cli
