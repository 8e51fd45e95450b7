#include "models/unet_2d_condition.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "models/ip_adapter.h"
#include "models/resnet_block.h"
#include "models/unet_encoder.h"
#include "nn/layers.h"

namespace easel::models {

using graph::Rate;
using nn::Scope;
using nn::Var;

namespace {

// Whether `part` is in `name`; a dot stands for any character, as in the regular expressions of the reference.
bool found_in(const std::string& name, const std::string& part) {
  const auto equal = [](char c, char pattern) { return pattern == '.' || c == pattern; };
  return std::search(name.begin(), name.end(), part.begin(), part.end(), equal) != name.end();
}

class UNet final : UNetEncoder {
 public:
  UNet(graph::Graph& graph, const UNet2DConditionConfig& config, const UNet2DConditionVariant& variant)
      : UNetEncoder(graph, config), variant_(variant), layers_found_(variant.perturbed_layers.size(), false) {
    check(config);
  }

  void build() {
    Var sample = inputs();
    if (config_.center_input_sample) sample = sample * 2.0 - nn::scalar(graph_, 1.0);
    if (!variant_.perturbed_layers.empty())
      perturbation_ = input("perturbation", {Dim::symbol("batch"), 1, 1}, Rate::request);
    if (variant_.freeu) freeu_ = input("freeu", {4}, Rate::request);
    if (variant_.image_prompts > 0) add_image_prompts();
    embed_time();

    Var x = down(conv_in(sample));
    if (config_.mid_block) x = mid_block(x);
    if (variant_.adapter_features > config_.levels.size()) x = add_feature(config_.levels.size(), x);
    if (variant_.control) add_residuals(x);
    for (size_t i = 0; i < config_.levels.size(); ++i) x = up_block(i, x);
    x = activation(group_norm(model_ / "conv_norm_out", x, config_.norm_num_groups, config_.norm_eps), config_.act_fn);
    x = conv2d(model_ / "conv_out", x, config_.out_channels, config_.conv_out_kernel, 1,
               nn::Padding::same((config_.conv_out_kernel - 1) / 2));
    graph_.output("noise_pred", to_channels_first(x).id());  // [B, out, H, W]
    for (size_t i = 0; i < layers_found_.size(); ++i)
      if (!layers_found_[i])
        fail(ErrorCode::invalid_argument,
             "--pag-applied-layers: expected a part of the name of a self-attention layer, such as mid or "
             "up_blocks.1.attentions.0, found \"{}\"",
             printable(variant_.perturbed_layers[i], 60));
  }

 private:
  void adjust(Transformer2DConfig& transformer) override {
    if (!variant_.perturbed_layers.empty()) {
      transformer.perturbed = [this](const std::string& name) { return is_perturbed(name); };
      transformer.perturbation = perturbation_;
    }
    if (variant_.image_prompts > 0) transformer.images = &images_;
  }

  void add_image_prompts() {
    const std::vector<CrossAttentionLayer> layers = cross_attention_layers(config_);
    for (const CrossAttentionLayer& layer : layers)
      images_.layer.emplace(layer.name, static_cast<int64_t>(images_.layer.size()));
    for (size_t i = 0; i < variant_.image_prompts; ++i) {
      const Dim tokens = Dim::symbol(fmt::format("ip_tokens.{}", i));
      images_.tokens.push_back(input(fmt::format("ip_hidden_states.{}", i),
                                     {Dim::symbol("batch"), tokens, config_.cross_attention_dim}, Rate::request));
      images_.scales.push_back(
          input(fmt::format("ip_scale.{}", i), {static_cast<int64_t>(layers.size())}, Rate::schedule));
    }
  }

  bool is_perturbed(const std::string& name) {
    bool any = false;
    for (size_t i = 0; i < layers_found_.size(); ++i)
      if (found_in(name, variant_.perturbed_layers[i])) any = layers_found_[i] = true;
    return any;
  }

  Var after_level(size_t level, const Var& x) override {
    return level < variant_.adapter_features ? add_feature(level, x) : x;
  }

  // What a T2I-Adapter has for this place, the same for every picture.
  Var add_feature(size_t index, const Var& x) {
    return x + input(adapter_feature_name(index), {1, x.dim(1), x.dim(2), x.channels()}, Rate::step);
  }

  // What ControlNets have for the skips and for what leaves the middle.
  void add_residuals(Var& x) {
    for (size_t i = 0; i < skips_.size(); ++i)
      residuals_.push_back(input(control_residual_name(i), skips_[i].shape(), Rate::step));
    x = x + input(kMidResidual, x.shape(), Rate::step);
  }

  // The skip that is next, with its residual. Added here, behind the layers between, so that the sum is written where
  // it belongs beside the sample, and not kept until then.
  Var take_skip() {
    Var skip = skips_.back();
    if (variant_.control) skip = skip + residuals_[skips_.size() - 1];
    skips_.pop_back();
    return skip;
  }

  // What a residual block of the way up begins with: the sample and its skip side by side.
  Var join(size_t block, const Var& x, const Var& skip) const {
    if (!variant_.freeu || block > 1) return nn::concat({x, skip});  // [B, H, W, C + skip]
    const int64_t half = x.channels() / 2;
    const auto factor = [&](size_t index) { return slice(freeu_, 0, static_cast<int64_t>(index), 1); };
    return nn::concat({slice(x, -1, 0, half) * factor(block), slice(x, -1, half, x.channels() - half),
                       fourier_filter(skip, factor(2 + block))});  // [B, H, W, C + skip]
  }

  Var up_block(size_t i, Var x) {
    const size_t level_index = config_.levels.size() - 1 - i;
    const UNetLevel& level = config_.levels[level_index];
    const Scope s = model_ / "up_blocks" / i;
    for (int j = 0; j < level.layers + 1; ++j) {
      const auto index = static_cast<size_t>(j);
      x = join(i, x, take_skip());  // [B, H, W, C + skip]
      x = resnet(s / "resnets" / index, x, level.channels);
      x = attend(s / "attentions" / index, x, level, level.attention_up, index);
    }
    // Back to the size of the skips of the next level, which need not be twice this one.
    if (level_index > 0) x = upsample(s / "upsamplers" / "0", x, skips_.back().dim(1), skips_.back().dim(2));
    return x;
  }

  const UNet2DConditionVariant& variant_;
  Var perturbation_, freeu_;
  ImagePromptInputs images_;
  std::vector<Var> residuals_;
  std::vector<bool> layers_found_;  // of the variant's, by their index
};

}  // namespace

graph::Graph unet_2d_condition(const UNet2DConditionConfig& config, const UNet2DConditionVariant& variant) {
  graph::Graph graph("unet");
  UNet(graph, config, variant).build();
  return graph;
}

std::string control_residual_name(size_t index) { return fmt::format("down_block_additional_residuals.{}", index); }
std::string adapter_feature_name(size_t index) { return fmt::format("down_intrablock_additional_residuals.{}", index); }

std::vector<float> guidance_scale_embedding(double guidance_scale, int64_t dim) {
  std::vector<float> out(static_cast<size_t>(dim), 0.0f);
  const size_t half = out.size() / 2;
  const auto w = static_cast<float>(guidance_scale - 1) * 1000.0f;
  const auto rate = static_cast<float>(std::log(10000.0)) / (static_cast<float>(half) - 1);
  for (size_t i = 0; i < half; ++i) {
    const float angle = w * std::exp(static_cast<float>(i) * -rate);
    out[i] = std::sin(angle);
    out[half + i] = std::cos(angle);
  }
  return out;
}

}  // namespace easel::models
