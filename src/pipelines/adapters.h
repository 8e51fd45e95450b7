// The adapters of a pipeline: opened once, looked up by name, made into what stands for a model's weights.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "pipelines/lora_merge.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

/// The LoRA file, or folder of one, that a name stands for: itself where that exists, else the file of that name (with
/// or without its extension) in or below one of `folders`. Throws io, naming what is there.
std::string find_lora(const std::string& name, const std::vector<std::string>& folders);

/// Stands for what is at a path: a file that was written anew is another one. inside: the parts of a folder that count.
std::string key_of_files(const std::string& path, std::initializer_list<const char*> inside);

/// Thread-safe.
class Adapters {
 public:
  /// files must outlive this object.
  Adapters(const ModelFiles& files, std::function<void(const std::string&)> warn);

  /// What the adapters make of each component; the same object while neither `loras` nor their files change.
  /// Throws as LoraFile::open() and adapt() do.
  std::shared_ptr<const Adaptation> adaptation(const std::vector<Lora>& loras, LoraMode mode);
  /// Stands for what `loras` do to text encoders; empty where there are none. Throws io for files that are not there.
  std::string text_key(const std::vector<Lora>& loras) const;

 private:
  std::shared_ptr<const LoraFile> open(const std::string& path);
  const LoraTargets& targets();

  const ModelFiles& files_;
  std::function<void(const std::string&)> warn_;
  std::mutex mutex_;
  std::optional<LoraTargets> targets_;
  std::map<std::string, std::shared_ptr<const LoraFile>> open_;  // by key_of()
  std::string made_for_;
  std::shared_ptr<const Adaptation> made_;
};

}  // namespace easel::pipelines
