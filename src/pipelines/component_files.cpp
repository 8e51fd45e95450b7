// Components from single files: which names they have, and sizes read off the tensors.
#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/configured.h"
#include "pipelines/families.h"
#include "pipelines/model_files.h"
#include "pipelines/model_tensors.h"

namespace easel::pipelines {

namespace {

constexpr int kHeads = 8;           // of Stable Diffusion 1.x, whatever the width
constexpr int64_t kHeadSize = 64;   // of the later ones, and of every published CLIP text encoder
constexpr int kMostLayers = 100;    // of a text encoder
constexpr int64_t kSizesDim = 256;  // of what the published SDXL networks are told of each size

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
  bool any_below(const std::string& prefix) const {
    const auto first = std::ranges::lower_bound(files_.names(), prefix);
    return first != files_.names().end() && first->starts_with(prefix);
  }

 private:
  const io::WeightFiles& files_;
  std::string where_;
};

// What a file does not say, as in the published models: heads by the form of the projections, the width of sizes.
void fill_in_unet(const Shapes& shapes, const std::string& added, models::UNet2DConditionConfig& config) {
  for (models::UNetLevel& level : config.levels)
    level.heads =
        config.use_linear_projection ? static_cast<int>(std::max<int64_t>(1, level.channels / kHeadSize)) : kHeads;
  config.mid_heads = config.levels.back().heads;
  if (!shapes.has(added)) return;
  config.addition_embed_type = models::AddedEmbedding::text_time;
  const int64_t width = config.projection_class_embeddings_input_dim = shapes.dim(added, 1);
  config.addition_time_embed_dim = static_cast<int>(width > 6 * kSizesDim ? kSizesDim : 1);
  config.pooled_dim = width - 6 * config.addition_time_embed_dim;
}

// Depths of the transformers behind residual blocks; nothing where there are none.
std::vector<int> without_zeros(std::vector<int> depths) {
  if (std::ranges::count(depths, 0) == static_cast<ptrdiff_t>(depths.size())) depths.clear();
  return depths;
}

// encoder_only: of the first half of a network, as a ControlNet has it.
models::UNet2DConditionConfig ldm_unet_config(const Shapes& shapes, const std::string& prefix,
                                              bool encoder_only = false) {
  models::UNet2DConditionConfig config;
  config.in_channels = shapes.dim(prefix + "input_blocks.0.0.weight", 1);
  if (!encoder_only) config.out_channels = shapes.dim(prefix + "out.2.weight", 0);
  const auto depth_at = [&](const std::string& block) {
    int depth = 0;
    while (shapes.has(fmt::format("{}1.transformer_blocks.{}.attn1.to_q.weight", block, depth))) ++depth;
    if (depth) {
      config.cross_attention_dim = shapes.dim(block + "1.transformer_blocks.0.attn2.to_k.weight", 1);
      config.use_linear_projection = shapes.rank(block + "1.proj_in.weight") == 2;
    }
    return depth;
  };
  models::UNetLevel level;
  level.layers = 0;
  const auto end_level = [&] {
    level.attention_down = without_zeros(std::move(level.attention_down));
    config.levels.push_back(level);
    level.layers = 0;
    level.attention_down.clear();
  };
  for (int i = 1; i < 1024; ++i) {
    const std::string block = fmt::format("{}input_blocks.{}.", prefix, i);
    const bool downsample = shapes.has(block + "0.op.weight");
    if (!downsample && !shapes.has(block + "0.in_layers.2.weight")) break;
    if (downsample) {
      end_level();
      continue;
    }
    ++level.layers;
    level.channels = shapes.dim(block + "0.in_layers.2.weight", 0);
    level.attention_down.push_back(depth_at(block));
  }
  if (level.layers == 0) shapes.dim(prefix + "input_blocks.1.0.in_layers.2.weight", 0);
  end_level();
  int position = 0;
  for (size_t i = config.levels.size(); i-- > 0;) {
    std::vector<int> depths;
    for (int j = 0; j <= config.levels[i].layers; ++j)
      depths.push_back(depth_at(fmt::format("{}output_blocks.{}.", prefix, position++)));
    config.levels[i].attention_up = without_zeros(std::move(depths));
  }
  config.mid_block = shapes.has(prefix + "middle_block.0.in_layers.2.weight");
  config.mid_attention_layers = depth_at(prefix + "middle_block.");
  if (shapes.has(prefix + "time_embed.cond_proj.weight"))
    config.time_cond_proj_dim = shapes.dim(prefix + "time_embed.cond_proj.weight", 1);
  fill_in_unet(shapes, prefix + "label_emb.0.0.weight", config);
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

models::UNet2DConditionConfig diffusers_unet_config(const Shapes& shapes, const std::string& prefix,
                                                    bool encoder_only = false) {
  models::UNet2DConditionConfig config;
  config.in_channels = shapes.dim(prefix + "conv_in.weight", 1);
  if (!encoder_only) config.out_channels = shapes.dim(prefix + "conv_out.weight", 0);
  const auto depths_at = [&](const std::string& block, int count) {
    std::vector<int> depths;
    for (int j = 0; j < count; ++j) {
      const std::string attention = fmt::format("{}attentions.{}.", block, j);
      int depth = 0;
      while (shapes.has(fmt::format("{}transformer_blocks.{}.attn2.to_k.weight", attention, depth))) ++depth;
      depths.push_back(depth);
      if (depth == 0) continue;
      config.cross_attention_dim = shapes.dim(attention + "transformer_blocks.0.attn2.to_k.weight", 1);
      config.use_linear_projection = shapes.rank(attention + "proj_in.weight") == 2;
    }
    return without_zeros(std::move(depths));
  };
  for (int i = 0; i < 16; ++i) {
    const std::string block = fmt::format("{}down_blocks.{}.", prefix, i);
    if (!shapes.has(block + "resnets.0.conv1.weight")) break;
    models::UNetLevel level;
    level.layers = 0;
    level.channels = shapes.dim(block + "resnets.0.conv1.weight", 0);
    while (shapes.has(fmt::format("{}resnets.{}.conv1.weight", block, level.layers))) ++level.layers;
    level.attention_down = depths_at(block, level.layers);
    config.levels.push_back(level);
  }
  if (config.levels.empty()) shapes.dim(prefix + "down_blocks.0.resnets.0.conv1.weight", 0);
  for (size_t i = 0; i < config.levels.size(); ++i) {
    models::UNetLevel& level = config.levels[config.levels.size() - 1 - i];
    level.attention_up = depths_at(fmt::format("{}up_blocks.{}.", prefix, i), level.layers + 1);
  }
  config.mid_block = shapes.has(prefix + "mid_block.resnets.0.conv1.weight");
  const std::vector<int> mid = depths_at(prefix + "mid_block.", 1);
  config.mid_attention_layers = mid.empty() ? 0 : mid.front();
  if (shapes.has(prefix + "time_embedding.cond_proj.weight"))
    config.time_cond_proj_dim = shapes.dim(prefix + "time_embedding.cond_proj.weight", 1);
  fill_in_unet(shapes, prefix + "add_embedding.linear_1.weight", config);
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

// A network is as deep as its tensors say, so one that is missing would make another network in silence. Tensors below
// `parts` that the network has no place for tell.
template <typename Config>
void expect_all_placed(const io::WeightFiles& files, const std::string& prefix, const std::vector<std::string>& parts,
                       const ComponentFiles<Config>& found,
                       std::map<std::string, Shape> (*weights_of_config)(const Config&), const std::string& where) {
  std::set<std::string> placed;
  for (const auto& [name, shape] : weights_of_config(found.config))
    if (const auto stored = found.weights->stored(name)) placed.insert(stored->name);
  for (const std::string& name : files.names()) {
    if (placed.contains(name)) continue;
    for (const std::string& part : parts)
      if (name.starts_with(prefix + part))
        fail(ErrorCode::io,
             "{}: tensor '{}' has no place in the network that the others make; expected the tensors beside it "
             "too, or none of them",
             where, printable(name));
  }
}

// How many layers there are; `name`: one tensor of each, after "PREFIX.NUMBER.".
int number_of_layers(const Shapes& shapes, const std::string& layers, const char* name) {
  int count = 0;
  while (shapes.has(fmt::format("{}{}.{}", layers, count, name))) ++count;
  for (int later = count; later < count + kMostLayers; ++later)
    if (shapes.any_below(fmt::format("{}{}.", layers, later)))
      shapes.dim(fmt::format("{}{}.{}", layers, count, name), 0);  // says that it is missing
  return count;
}

models::ClipTextConfig text_config(const Shapes& shapes, const std::string& prefix, const std::string& projection) {
  constexpr int64_t kQuickGelu = 768;  // OpenAI's; the larger ones are OpenCLIP's, with the exact function
  models::ClipTextConfig config;
  config.vocab_size = shapes.dim(prefix + "embeddings.token_embedding.weight", 0);
  config.hidden_size = shapes.dim(prefix + "embeddings.token_embedding.weight", 1);
  config.max_position_embeddings = shapes.dim(prefix + "embeddings.position_embedding.weight", 0);
  config.intermediate_size = shapes.dim(prefix + "encoder.layers.0.mlp.fc1.weight", 0);
  config.num_hidden_layers = number_of_layers(shapes, prefix + "encoder.layers.", "mlp.fc1.weight");
  config.num_attention_heads = static_cast<int>(std::max<int64_t>(1, config.hidden_size / kHeadSize));
  if (config.hidden_size > kQuickGelu) config.hidden_act = nn::Activation::gelu_erf;
  if (shapes.has(projection)) config.projection_dim = shapes.dim(projection, 0);
  return config;
}

// Of Stable Diffusion 2's encoder the last layer was never used: files in the original layout have it or not, those in
// transformers' names do not.
constexpr int kOpenClipHLayers = 23;

models::ClipTextConfig open_clip_config(const Shapes& shapes, const std::string& prefix, bool penultimate) {
  models::ClipTextConfig config;
  config.vocab_size = shapes.dim(prefix + "token_embedding.weight", 0);
  config.hidden_size = shapes.dim(prefix + "token_embedding.weight", 1);
  config.max_position_embeddings = shapes.dim(prefix + "positional_embedding", 0);
  config.intermediate_size = shapes.dim(prefix + "transformer.resblocks.0.mlp.c_fc.weight", 0);
  config.num_hidden_layers = number_of_layers(shapes, prefix + "transformer.resblocks.", "mlp.c_fc.weight");
  config.num_attention_heads = static_cast<int>(std::max<int64_t>(1, config.hidden_size / kHeadSize));
  config.hidden_act = nn::Activation::gelu_erf;
  const std::string projection = prefix + "text_projection";
  if (!penultimate) {
    if (shapes.has(projection)) config.projection_dim = shapes.dim(projection, 1);
  } else if (config.num_hidden_layers > kOpenClipHLayers) {
    config.num_hidden_layers = kOpenClipHLayers;
  } else if (config.num_hidden_layers < kOpenClipHLayers && shapes.has(projection)) {
    --config.num_hidden_layers;  // a small model, as the whole encoder was trained
  }
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
  return {match.prefix, std::string(match.row->layout) != "original"};
}

// transformers puts the projection beside "text_model.", not below it.
NameCandidates transformers_names(const std::string& prefix) {
  const std::string model = "text_model.";
  const std::string outer = prefix.ends_with(model) ? prefix.substr(0, prefix.size() - model.size()) : prefix;
  return [prefix, outer](const std::string& name) {
    return std::vector<StoredName>{name.starts_with("text_projection.") ? outer + name : prefix + name};
  };
}

TextEncoderFiles text_encoder_of(const io::WeightFiles& files, const Match& match, const std::string& where) {
  const std::string family = match.row->family, layout = match.row->layout;
  if (family == "T5")
    fail(ErrorCode::unsupported, "{}: expected a CLIP text encoder, found a T5, which is not run yet", where);
  const Shapes shapes(files, where);
  TextEncoderFiles out;
  NameCandidates names;
  if (layout == "open_clip") {
    names = open_clip_names(match.prefix);
    out.config =
        open_clip_config(shapes, match.prefix, match.prefix.starts_with("cond_stage_model.") || family == "OpenCLIP-H");
    out.pad_token.assign(1, '!');
  } else {
    names = transformers_names(match.prefix);
    // CLIP-L comes with its projection in some files; nothing here reads it.
    out.config = text_config(shapes, match.prefix,
                             family == "CLIP-L" || match.prefix.starts_with("cond_stage_model.")
                                 ? ""
                                 : names("text_projection.weight").front().name);
  }
  out.weights = std::make_shared<FileWeights>(files, std::move(names));
  return out;
}

std::vector<const Match*> text_matches(const Identity& identity) {
  std::vector<const Match*> out;
  for (const Match& match : identity.parts)
    if (match.row->part == Part::text_encoder) out.push_back(&match);
  return out;
}

}  // namespace

void expect_unet_family(const io::WeightFiles& files, const std::string& where) {
  const Identity identity = identify(files);
  const std::string family = identity.find(Part::denoiser)->row->family;
  for (const Family known : {Family::sd1, Family::sd2, Family::sdxl, Family::sdxl_refiner})
    if (family == to_string(known)) return;
  fail(ErrorCode::unsupported, "{}: expected Stable Diffusion 1.x, 2.x or XL, found {} ({}), which is not run yet",
       where, family, identity.evidence());
}

namespace {

void expect_whole_unet(const UNetFiles& unet, const std::string& where) {
  const io::WeightFiles& files = unet.weights->files();
  const Naming naming = naming_of(files, Part::denoiser, where);
  expect_all_placed(files, naming.prefix,
                    naming.diffusers ? std::vector<std::string>{"down_blocks.", "mid_block.", "up_blocks."}
                                     : std::vector<std::string>{"input_blocks.", "middle_block.", "output_blocks."},
                    unet, unet_weights, where);
}

void expect_whole_vae(const VaeFiles& vae, const std::string& where) {
  if (vae.tiny) return;
  const io::WeightFiles& files = vae.weights->files();
  const Naming naming = naming_of(files, Part::vae, where);
  expect_all_placed<models::AutoencoderKLConfig>(
      files, naming.prefix,
      naming.diffusers ? std::vector<std::string>{"encoder.down_blocks.", "encoder.mid_block.", "decoder.up_blocks.",
                                                  "decoder.mid_block."}
                       : std::vector<std::string>{"encoder.down.", "encoder.mid.", "decoder.up.", "decoder.mid."},
      vae, vae_weights, where);
}

UNetFiles unet_in(const io::WeightFiles& files, const std::string& where) {
  const Naming naming = naming_of(files, Part::denoiser, where);
  expect_unet_family(files, where);
  const Shapes shapes(files, where);
  UNetFiles out;
  out.config = naming.diffusers ? diffusers_unet_config(shapes, naming.prefix) : ldm_unet_config(shapes, naming.prefix);
  out.weights = std::make_shared<FileWeights>(
      files, naming.diffusers ? prefixed_names(naming.prefix) : ldm_unet_names(out.config, naming.prefix));
  return out;
}

VaeFiles vae_in(const io::WeightFiles& files, const std::string& where) {
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

}  // namespace

UNetFiles read_unet(const io::WeightFiles& files, const std::string& where) {
  UNetFiles out = unet_in(files, where);
  expect_whole_unet(out, where);
  return out;
}

VaeFiles read_vae(const io::WeightFiles& files, const std::string& where) {
  VaeFiles out = vae_in(files, where);
  expect_whole_vae(out, where);
  return out;
}

models::UNet2DConditionConfig read_encoder_config(const io::WeightFiles& files, const std::string& prefix,
                                                  bool diffusers, const std::string& where) {
  const Shapes shapes(files, where);
  return diffusers ? diffusers_unet_config(shapes, prefix, true) : ldm_unet_config(shapes, prefix, true);
}

std::vector<TextEncoderFiles> read_text_encoders(const io::WeightFiles& files, const std::string& where) {
  expect_part(files, Part::text_encoder, where);
  const Identity identity = identify(files);
  std::vector<TextEncoderFiles> out;
  for (const Match* match : text_matches(identity)) out.push_back(text_encoder_of(files, *match, where));
  // CLIP-L comes first whatever the order of the file: bigG is the one with a projection.
  std::ranges::stable_sort(out, {}, [](const TextEncoderFiles& e) { return e.config.projection_dim > 0; });
  if (out.size() > 1 || out.front().config.projection_dim > 0) out.back().name = "text_encoder_2";
  return out;
}

namespace {

// The configuration of the part that is replaced, where the file's tensors are all as it has them: it says what no
// tensor shows.
template <typename Config>
void take_over(const std::optional<Config>& like, std::map<std::string, Shape> (*weights_of_config)(const Config&),
               ComponentFiles<Config>& files) {
  if (!like || files.configured) return;
  for (const auto& [name, shape] : weights_of_config(*like)) {
    if (!files.weights->stored(name)) return;
    const Shape found = files.weights->outline(name).shape;
    for (int i = 0; i < std::max(shape.rank(), found.rank()); ++i)
      if ((i < shape.rank() ? shape[i] : 1) != (i < found.rank() ? found[i] : 1)) return;
  }
  files.config = *like;
  files.configured = true;
}

}  // namespace

UNetFiles read_unet(const std::string& path, const std::string& where, bool weights_required,
                    const std::optional<models::UNet2DConditionConfig>& like) {
  if (auto found = read_configured(path, {"UNet2DConditionModel"}, unet_2d_condition_config,
                                   {"diffusion_pytorch_model"}, prefixed_names(""), weights_required))
    return *found;
  UNetFiles out = unet_in(io::WeightFiles::open(path), where);
  take_over(like, unet_weights, out);
  expect_whole_unet(out, where);
  return out;
}

VaeFiles read_vae(const std::string& path, const std::string& where, bool weights_required,
                  const std::optional<models::AutoencoderKLConfig>& like) {
  if (const auto tiny = read_tiny_vae(path, where, weights_required)) return *tiny;
  if (auto found = read_configured(path, {"AutoencoderKL"}, autoencoder_kl_config, {"diffusion_pytorch_model"},
                                   diffusers_vae_names(), weights_required))
    return {*found, std::nullopt};
  VaeFiles out = vae_in(io::WeightFiles::open(path), where);
  take_over(like, vae_weights, out);
  expect_whole_vae(out, where);
  return out;
}

TextEncoderFiles read_text_encoder(const std::string& path, const std::string& where, bool second,
                                   bool weights_required, const std::optional<models::ClipTextConfig>& like) {
  const NameCandidates names = [](const std::string& name) {
    return std::vector<StoredName>{name, "text_model." + name};
  };
  TextEncoderFiles out;
  if (auto found = read_configured(path, {"CLIPTextModel", "CLIPTextModelWithProjection"}, clip_text_config,
                                   {"model", "pytorch_model"}, names, weights_required)) {
    static_cast<ComponentFiles<models::ClipTextConfig>&>(out) = *found;
  } else {
    std::vector<TextEncoderFiles> all = read_text_encoders(io::WeightFiles::open(path), where);
    out = second ? std::move(all.back()) : std::move(all.front());
    take_over(like, text_encoder_weights, out);
  }
  out.name = second ? "text_encoder_2" : "text_encoder";
  if (!second) out.config.projection_dim = 0;
  if (second && out.config.projection_dim == 0)
    fail(ErrorCode::unsupported, "{}: expected a text encoder with a text_projection, found one without", where);
  return out;
}

}  // namespace easel::pipelines
