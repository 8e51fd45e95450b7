// Pictures as prompts: from the adapters of a request to the tokens that the UNet attends to.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <easel/pipeline.h>

#include "pipelines/component.h"
#include "pipelines/image_encoder_files.h"
#include "pipelines/ip_adapter_file.h"

namespace easel::pipelines {

/// An image encoder, with the variant "penultimate_states" beside its projected output where it has a projection.
struct ImageEncoder {
  std::string key;  ///< stands for the content of its files
  ImageEncoderFiles files;
  std::unique_ptr<Component> component;
};

/// An adapter's file and the networks that make tokens.
struct IpAdapterNetworks {
  std::string key;  ///< stands for the file's content
  std::shared_ptr<const IpAdapterFile> file;
  std::map<int64_t, std::unique_ptr<Component>> projections;  ///< by the number of states that they are given
};

/// An adapter of a request that acts.
struct ImagePrompt {
  std::shared_ptr<IpAdapterNetworks> adapter;
  std::shared_ptr<ImageEncoder> encoder;
  std::vector<PictureSource> images;
  int64_t tokens = 0;         ///< of all its pictures
  std::vector<float> scales;  ///< of each of cross_attention_layers()
  double start = 0, end = 1;
  // Filled in by encode(): [1, tokens, cross_attention_dim] f32.
  Tensor states;
  Tensor negative_states;  ///< for the negative prompt: of features that are zeros, or of a picture that is

  bool acts_at(double progress) const { return progress >= start && progress <= end; }
};

/// Owns image encoders and adapter files, by path, and remembers the tokens of a few pictures.
class ImagePrompts {
 public:
  /// before_use is called each time before a network is packed and run. files must outlive this object.
  ImagePrompts(const ModelFiles& files, const LoadOptions& options, device::ContextPtr context, DType precision,
               std::shared_ptr<exec::Arena> arena, std::function<void(Component&)> before_use);

  /// Those of the adapters that act: without the ones whose scale is 0 everywhere. Reads heads of files, no pictures.
  /// Throws io, unsupported, shape_mismatch or invalid_argument, naming the option. Thread-safe.
  std::vector<ImagePrompt> resolve(const std::vector<IpAdapter>& adapters);

  /// Reads, encodes and fills in; negative_states only where they are asked for. Networks give back their memory
  /// afterwards where LoadOptions say so.
  void encode(std::vector<ImagePrompt>& prompts, bool negative);

  /// Stands for the matrices that the UNet needs; empty for none.
  static std::string key(const std::vector<ImagePrompt>& prompts);
  /// Adds these matrices, prompt i in slot i.
  void add_to(exec::Replacements& replacements, const std::vector<ImagePrompt>& prompts) const;

  /// The networks that encode() runs for these prompts, each once.
  struct Network {
    Component* component;
    std::string variant;
    const FileWeights* weights;
    const char* name;  ///< "image_encoder" or "image_proj"
  };
  std::vector<Network> networks(const std::vector<ImagePrompt>& prompts);
  /// All there are.
  std::vector<Component*> components();
  bool keeps_weights() const { return keep_; }
  double compile_seconds();
  void set_observer(const exec::Session::Observer& observer);

 private:
  /// Tokens of a picture, or (pixels: zeros) of none.
  struct Known {
    std::string networks;
    Tensor pixels, tokens;
  };
  struct Wanted;

  std::string encoder_path(const IpAdapter& adapter) const;
  std::shared_ptr<ImageEncoder> encoder(const std::string& path, const std::string& where);
  std::shared_ptr<IpAdapterNetworks> adapter(const std::string& path);
  Component& projection(const ImagePrompt& prompt);
  std::vector<float> scales_of(const IpAdapter& adapter) const;
  static std::vector<Wanted> wanted(std::vector<ImagePrompt>& prompts, bool negative);
  Tensor features(const ImagePrompt& prompt, const Tensor& pixels);
  Tensor tokens(const ImagePrompt& prompt, const Tensor& features);
  const Tensor* find(const Wanted& wanted) const;

  const ModelFiles& files_;
  bool keep_, keep_blocks_;
  device::ContextPtr context_;
  DType precision_;
  std::shared_ptr<exec::Arena> arena_;
  std::function<void(Component&)> before_use_;
  exec::Session::Observer observer_;
  std::vector<models::CrossAttentionLayer> layers_;
  mutable std::recursive_mutex mutex_;                  // requests are checked while others run
  std::deque<std::shared_ptr<ImageEncoder>> encoders_;  // of these the newest are last
  std::deque<std::shared_ptr<IpAdapterNetworks>> adapters_;
  std::deque<Known> known_;
};

}  // namespace easel::pipelines
