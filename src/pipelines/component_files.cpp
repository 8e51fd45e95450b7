// Components from single files: which names they have, and sizes read off the tensors.
#include <algorithm>
#include <filesystem>
#include <optional>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/families.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

constexpr int kHeads = 8;  // of Stable Diffusion 1.x, whatever the width

/// Sizes of the file's tensors, with errors that name what is missing.
class Shapes {
 public:
  Shapes(const io::WeightFiles& files, std::string where) : files_(files), where_(std::move(where)) {}
  const Shape* find(const std::string& name) const {
    const io::TensorInfo* info = files_.find(name);
    return info ? &info->shape : nullptr;
  }
  int64_t dim(const std::string& name, int axis) const {
    const Shape* shape = find(name);
    if (!shape || shape->rank() <= axis)
      fail(ErrorCode::io, "{}: expected a tensor '{}' of rank {} at least, found none", where_, name, axis + 1);
    return (*shape)[axis];
  }
  int rank(const std::string& name) const {
    dim(name, 0);
    return find(name)->rank();
  }
  bool has(const std::string& name) const { return find(name) != nullptr; }

 private:
  const io::WeightFiles& files_;
  std::string where_;
};

models::UNet2DConditionConfig ldm_unet_config(const Shapes& shapes, const std::string& prefix) {
  models::UNet2DConditionConfig config;
  config.in_channels = shapes.dim(prefix + "input_blocks.0.0.weight", 1);
  config.out_channels = shapes.dim(prefix + "out.2.weight", 0);
  config.mid_heads = kHeads;
  models::UNetLevel level;
  level.layers = 0;
  level.heads = kHeads;
  const auto depth_at = [&](const std::string& block) {
    int depth = 0;
    while (shapes.has(fmt::format("{}1.transformer_blocks.{}.attn1.to_q.weight", block, depth))) ++depth;
    return depth;
  };
  for (int i = 1; i < 1024; ++i) {
    const std::string block = fmt::format("{}input_blocks.{}.", prefix, i);
    const bool downsample = shapes.has(block + "0.op.weight");
    if (!downsample && !shapes.has(block + "0.in_layers.2.weight")) break;
    if (downsample) {
      config.levels.push_back(level);
      level.layers = level.attention_layers = 0;
      continue;
    }
    ++level.layers;
    level.channels = shapes.dim(block + "0.in_layers.2.weight", 0);
    level.attention_layers = depth_at(block);
    if (level.attention_layers) {
      config.cross_attention_dim = shapes.dim(block + "1.transformer_blocks.0.attn2.to_k.weight", 1);
      config.use_linear_projection = shapes.rank(block + "1.proj_in.weight") == 2;
    }
  }
  if (level.layers == 0) shapes.dim(prefix + "input_blocks.1.0.in_layers.2.weight", 0);
  config.levels.push_back(level);
  for (models::UNetLevel& l : config.levels) l.attention_down = l.attention_up = l.attention_layers > 0;
  config.mid_attention_layers = depth_at(prefix + "middle_block.");
  return config;
}

models::AutoencoderKLConfig ldm_vae_config(const Shapes& shapes, const std::string& prefix) {
  models::AutoencoderKLConfig config;
  config.in_channels = shapes.dim(prefix + "encoder.conv_in.weight", 1);
  config.out_channels = shapes.dim(prefix + "decoder.conv_out.weight", 0);
  config.latent_channels = shapes.dim(prefix + "decoder.conv_in.weight", 1);
  config.block_out_channels.clear();
  for (int i = 0; i < 8 && shapes.has(fmt::format("{}encoder.down.{}.block.0.conv1.weight", prefix, i)); ++i)
    config.block_out_channels.push_back(
        shapes.dim(fmt::format("{}encoder.down.{}.block.0.conv1.weight", prefix, i), 0));
  if (config.block_out_channels.empty()) shapes.dim(prefix + "encoder.down.0.block.0.conv1.weight", 0);
  config.layers_per_block = 0;
  while (shapes.has(fmt::format("{}encoder.down.0.block.{}.conv1.weight", prefix, config.layers_per_block)))
    ++config.layers_per_block;
  config.use_quant_conv = shapes.has(prefix + "quant_conv.weight");
  config.use_post_quant_conv = shapes.has(prefix + "post_quant_conv.weight");
  config.mid_block_add_attention = shapes.has(prefix + "decoder.mid.attn_1.q.weight");
  return config;
}

models::UNet2DConditionConfig diffusers_unet_config(const Shapes& shapes, const std::string& prefix) {
  models::UNet2DConditionConfig config;
  config.in_channels = shapes.dim(prefix + "conv_in.weight", 1);
  config.out_channels = shapes.dim(prefix + "conv_out.weight", 0);
  config.mid_heads = kHeads;
  const auto depth_at = [&](const std::string& block) {
    int depth = 0;
    while (shapes.has(fmt::format("{}attentions.0.transformer_blocks.{}.attn2.to_k.weight", block, depth))) ++depth;
    return depth;
  };
  for (int i = 0; i < 16; ++i) {
    const std::string block = fmt::format("{}down_blocks.{}.", prefix, i);
    if (!shapes.has(block + "resnets.0.conv1.weight")) break;
    models::UNetLevel level;
    level.heads = kHeads;
    level.layers = 0;
    level.channels = shapes.dim(block + "resnets.0.conv1.weight", 0);
    while (shapes.has(fmt::format("{}resnets.{}.conv1.weight", block, level.layers))) ++level.layers;
    level.attention_layers = depth_at(block);
    if (level.attention_layers) {
      config.cross_attention_dim = shapes.dim(block + "attentions.0.transformer_blocks.0.attn2.to_k.weight", 1);
      config.use_linear_projection = shapes.rank(block + "attentions.0.proj_in.weight") == 2;
    }
    level.attention_down = level.attention_up = level.attention_layers > 0;
    config.levels.push_back(level);
  }
  if (config.levels.empty()) shapes.dim(prefix + "down_blocks.0.resnets.0.conv1.weight", 0);
  config.mid_attention_layers = depth_at(prefix + "mid_block.");
  return config;
}

models::AutoencoderKLConfig diffusers_vae_config(const Shapes& shapes, const std::string& prefix) {
  models::AutoencoderKLConfig config;
  config.in_channels = shapes.dim(prefix + "encoder.conv_in.weight", 1);
  config.out_channels = shapes.dim(prefix + "decoder.conv_out.weight", 0);
  config.latent_channels = shapes.dim(prefix + "decoder.conv_in.weight", 1);
  config.block_out_channels.clear();
  const auto first_conv = [&](int level) {
    return fmt::format("{}encoder.down_blocks.{}.resnets.0.conv1.weight", prefix, level);
  };
  for (int i = 0; i < 8 && shapes.has(first_conv(i)); ++i)
    config.block_out_channels.push_back(shapes.dim(first_conv(i), 0));
  if (config.block_out_channels.empty()) shapes.dim(first_conv(0), 0);
  config.layers_per_block = 0;
  while (shapes.has(fmt::format("{}encoder.down_blocks.0.resnets.{}.conv1.weight", prefix, config.layers_per_block)))
    ++config.layers_per_block;
  config.use_quant_conv = shapes.has(prefix + "quant_conv.weight");
  config.use_post_quant_conv = shapes.has(prefix + "post_quant_conv.weight");
  config.mid_block_add_attention = shapes.has(prefix + "decoder.mid_block.attentions.0.group_norm.weight");
  return config;
}

// Names are the same in every layout, after a prefix.
models::ClipTextConfig text_config(const Shapes& shapes, const std::string& prefix) {
  constexpr int64_t kHeadSize = 64;    // of every published CLIP text encoder
  constexpr int64_t kQuickGelu = 768;  // OpenAI's; the larger ones are OpenCLIP's, with the exact function
  models::ClipTextConfig config;
  config.vocab_size = shapes.dim(prefix + "embeddings.token_embedding.weight", 0);
  config.hidden_size = shapes.dim(prefix + "embeddings.token_embedding.weight", 1);
  config.max_position_embeddings = shapes.dim(prefix + "embeddings.position_embedding.weight", 0);
  config.intermediate_size = shapes.dim(prefix + "encoder.layers.0.mlp.fc1.weight", 0);
  config.num_hidden_layers = 0;
  while (shapes.has(fmt::format("{}encoder.layers.{}.mlp.fc1.weight", prefix, config.num_hidden_layers)))
    ++config.num_hidden_layers;
  config.num_attention_heads = static_cast<int>(std::max<int64_t>(1, config.hidden_size / kHeadSize));
  if (config.hidden_size > kQuickGelu) config.hidden_act = nn::Activation::gelu_erf;
  return config;
}

/// The prefix of a part's names, and whether they are diffusers'.
struct Naming {
  std::string prefix;
  bool diffusers = false;
};

Naming naming_of(const io::WeightFiles& files, Part part, const std::string& where) {
  expect_part(files, part, where);
  const Identity identity = identify(files);
  const Match& match = *identity.find(part);
  const std::string layout = match.row->layout;
  if (layout == "open_clip")
    fail(ErrorCode::unsupported,
         "{}: text encoders in OpenCLIP's names (tensor '{}') are not read yet; another can be "
         "given with --text-encoder FILE",
         where, printable(match.tensor));
  return {match.prefix, layout != "original"};
}

void expect_unet_family(const io::WeightFiles& files, const std::string& where) {
  const Identity identity = identify(files);
  const std::string family = identity.find(Part::denoiser)->row->family;
  if (family != "Stable Diffusion 1.x")
    fail(ErrorCode::unsupported, "{}: expected Stable Diffusion 1.x, found {} ({}); single files of it are not run yet",
         where, family, identity.evidence());
}

}  // namespace

UNetFiles read_unet(const io::WeightFiles& files, const std::string& where) {
  const Naming naming = naming_of(files, Part::denoiser, where);
  expect_unet_family(files, where);
  const Shapes shapes(files, where);
  UNetFiles out;
  out.config = naming.diffusers ? diffusers_unet_config(shapes, naming.prefix) : ldm_unet_config(shapes, naming.prefix);
  out.weights = std::make_shared<FileWeights>(
      files, naming.diffusers ? prefixed_names(naming.prefix) : ldm_unet_names(out.config, naming.prefix));
  return out;
}

VaeFiles read_vae(const io::WeightFiles& files, const std::string& where) {
  const Naming naming = naming_of(files, Part::vae, where);
  const std::string family = identify(files).find(Part::vae)->row->family;
  if (family == "TAESD")
    if (const auto tiny = read_tiny_vae(files.path(), where)) return *tiny;
  if (family != "AutoencoderKL")
    fail(ErrorCode::unsupported, "{}: expected an AutoencoderKL, found a {}, which is not run yet", where, family);
  const Shapes shapes(files, where);
  VaeFiles out;
  out.config = naming.diffusers ? diffusers_vae_config(shapes, naming.prefix) : ldm_vae_config(shapes, naming.prefix);
  out.weights = std::make_shared<FileWeights>(
      files, naming.diffusers ? diffusers_vae_names(naming.prefix) : ldm_vae_names(out.config, naming.prefix));
  return out;
}

TextEncoderFiles read_text_encoder(const io::WeightFiles& files, const std::string& where) {
  const Naming naming = naming_of(files, Part::text_encoder, where);
  const std::string family = identify(files).find(Part::text_encoder)->row->family;
  if (family == "T5")
    fail(ErrorCode::unsupported, "{}: expected a CLIP text encoder, found a T5, which is not run yet", where);
  return {text_config(Shapes(files, where), naming.prefix),
          std::make_shared<FileWeights>(files, prefixed_names(naming.prefix))};
}

namespace {

// A folder of a component, or a file with its config.json beside it, as diffusers saves them.
template <typename Config>
std::optional<ComponentFiles<Config>> read_configured(const std::string& path, const char* own_class,
                                                      Config (*parse)(const io::JsonObject&),
                                                      const std::vector<std::string>& stems,
                                                      const NameCandidates& names, bool weights_required) {
  std::error_code error;
  const bool folder = fs::is_directory(path, error);
  const fs::path config = (folder ? fs::path(path) : fs::path(path).parent_path()) / "config.json";
  if (!folder && !fs::exists(config, error)) return std::nullopt;
  const io::JsonObject json = io::JsonObject::from_file(config.string());
  if (!folder) {  // the configuration may be of something else that lies in the same folder
    const bool own = json.is_string("_class_name") ? json.string("_class_name") == own_class
                     : json.is_array("architectures")
                         ? std::ranges::count(json.strings("architectures"), std::string(own_class)) > 0
                         : false;
    if (!own) return std::nullopt;
  }
  std::optional<io::WeightFiles> files =
      folder ? open_weights(path, stems, weights_required) : io::WeightFiles::open(path);
  return ComponentFiles<Config>{parse(json),
                                files ? std::make_shared<const FileWeights>(*std::move(files), names) : nullptr};
}

}  // namespace

UNetFiles read_unet(const std::string& path, const std::string& where, bool weights_required) {
  if (auto found = read_configured(path, "UNet2DConditionModel", unet_2d_condition_config, {"diffusion_pytorch_model"},
                                   prefixed_names(""), weights_required))
    return *found;
  return read_unet(io::WeightFiles::open(path), where);
}

VaeFiles read_vae(const std::string& path, const std::string& where, bool weights_required) {
  if (const auto tiny = read_tiny_vae(path, where, weights_required)) return *tiny;
  if (auto found = read_configured(path, "AutoencoderKL", autoencoder_kl_config, {"diffusion_pytorch_model"},
                                   diffusers_vae_names(), weights_required))
    return {*found, std::nullopt};
  return read_vae(io::WeightFiles::open(path), where);
}

TextEncoderFiles read_text_encoder(const std::string& path, const std::string& where, bool weights_required) {
  const NameCandidates names = [](const std::string& name) { return std::vector{name, "text_model." + name}; };
  if (auto found =
          read_configured(path, "CLIPTextModel", clip_text_config, {"model", "pytorch_model"}, names, weights_required))
    return *found;
  return read_text_encoder(io::WeightFiles::open(path), where);
}

}  // namespace easel::pipelines
