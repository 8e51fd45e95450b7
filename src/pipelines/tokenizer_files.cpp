#include "pipelines/tokenizer_files.h"

#include <filesystem>

namespace easel::pipelines {

namespace fs = std::filesystem;

std::string find_tokenizer(const std::string& path, const std::string& encoder,
                           const std::vector<std::string>& folders) {
  const fs::path beside = fs::path(path).parent_path();
  std::vector<fs::path> places = {beside.empty() ? fs::path(".") : beside};
  places.insert(places.end(), folders.begin(), folders.end());
  for (const fs::path& place : places)
    for (const char* name : {"tokenizer_2", "tokenizer"}) {
      if (std::string(name) == "tokenizer_2" && encoder != "text_encoder_2") continue;
      std::error_code error;
      if (fs::is_regular_file(place / name / "vocab.json", error)) return (place / name).string();
    }
  return "";
}

}  // namespace easel::pipelines
