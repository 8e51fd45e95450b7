#include "pipelines/adapters.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"
#include "pipelines/model_tensors.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

constexpr const char* kExtensions[] = {".safetensors", ".pt", ".ckpt", ".pth", ".bin"};

bool is_lora_file(const fs::path& path) {
  return std::any_of(std::begin(kExtensions), std::end(kExtensions),
                     [&](const char* extension) { return path.extension() == extension; });
}

}  // namespace

std::string find_lora(const std::string& name, const std::vector<std::string>& folders) {
  std::error_code error;
  if (fs::exists(name, error)) return name;
  std::vector<std::string> known;
  for (const std::string& folder : folders) {
    std::vector<fs::path> files;  // the system's order is no order
    for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      if (is_lora_file(it->path())) files.push_back(it->path());
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      const fs::path inside = file.lexically_relative(folder);
      fs::path bare = inside;
      bare.replace_extension();
      if (name == inside.generic_string() || name == bare.generic_string() || name == file.stem()) return file.string();
      known.push_back(file.stem().string());
    }
  }
  constexpr size_t kShown = 12;
  std::string there;
  for (size_t i = 0; i < std::min(kShown, known.size()); ++i) {
    if (i > 0) there += ", ";
    there += printable(known[i], 60);
  }
  if (known.size() > kShown) there += fmt::format(" and {} more", known.size() - kShown);
  if (folders.empty())
    fail(ErrorCode::io, "LoRA \"{}\": expected a file, or --lora-dir with a folder of them, found nothing",
         printable(name, 400));
  fail(ErrorCode::io, "LoRA \"{}\": expected a file, or one of that name in {}, found {}", printable(name, 400),
       printable(fmt::format("{}", fmt::join(folders, ", ")), 400), there.empty() ? "none" : there);
}

std::string key_of_files(const std::string& path, std::initializer_list<const char*> inside) {
  std::error_code error;
  std::string key = path;
  const auto add = [&](const fs::path& part) {
    if (!fs::is_regular_file(part, error)) return;
    key +=
        fmt::format("|{}|{}", fs::file_size(part, error), fs::last_write_time(part, error).time_since_epoch().count());
  };
  add(path);
  for (const char* part : inside) add(fs::path(path) / part);
  return key;
}

namespace {

std::string key_of(const std::string& path) {
  return key_of_files(path, {"adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_config.json"});
}

}  // namespace

Adapters::Adapters(const ModelFiles& files, std::function<void(const std::string&)> warn)
    : files_(files), warn_(std::move(warn)) {}

std::string Adapters::text_key(const std::vector<Lora>& loras) const {
  std::string out;
  for (const Lora& lora : loras)
    if (lora.text_weight != 0) out += fmt::format("{}|{:a};", key_of(lora.path), lora.text_weight);
  return out;
}

std::shared_ptr<const LoraFile> Adapters::open(const std::string& path) {
  std::shared_ptr<const LoraFile>& file = open_[key_of(path)];
  if (!file) file = LoraFile::open(path);
  return file;
}

const LoraTargets& Adapters::targets() {
  if (!targets_) {
    LoraTargets all;
    all.add_unet(unet_weights(files_.unet), files_.unet);
    for (const TextEncoderFiles& encoder : files_.text_encoders)
      all.add_text_encoder(text_encoder_weights(encoder.config), encoder.name == "text_encoder_2" ? 2 : 1);
    targets_ = std::move(all);
  }
  return *targets_;
}

std::shared_ptr<const Adaptation> Adapters::adaptation(const std::vector<Lora>& loras, LoraMode mode) {
  const std::lock_guard lock(mutex_);
  std::string key = mode == LoraMode::runtime ? "runtime;" : "";
  for (const Lora& lora : loras)
    key += fmt::format("{}|{:a}|{:a};", key_of(lora.path), lora.unet_weight, lora.text_weight);
  if (made_ && key == made_for_) return made_;
  std::vector<OpenLora> opened;
  for (const Lora& lora : loras) opened.push_back({open(lora.path), lora.unet_weight, lora.text_weight});
  made_ = std::make_shared<const Adaptation>(adapt(opened, mode, targets(), to_string(files_.family), warn_));
  made_for_ = key;
  constexpr size_t kOpen = 16;
  if (open_.size() > kOpen) open_.clear();  // what is in use is held by its expressions
  return made_;
}

}  // namespace easel::pipelines
