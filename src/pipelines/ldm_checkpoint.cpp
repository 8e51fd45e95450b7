// The original single-file layout of Stable Diffusion 1.x: names, and sizes read off the tensors.
#include <regex>

#include "base/fail.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace {

constexpr const char* kUNet = "model.diffusion_model.";
constexpr const char* kVae = "first_stage_model.";
constexpr const char* kText = "cond_stage_model.transformer.text_model.";

struct Rename {
  const char* ours;
  const char* theirs;
};

// First match wins; names without one are equal in both layouts.
constexpr Rename kResnet[] = {{"norm1.", "in_layers.0."},          {"conv1.", "in_layers.2."},
                              {"time_emb_proj.", "emb_layers.1."}, {"norm2.", "out_layers.0."},
                              {"conv2.", "out_layers.3."},         {"conv_shortcut.", "skip_connection."}};
constexpr Rename kUNetEdges[] = {{"conv_in.", "input_blocks.0.0."},
                                 {"time_embedding.linear_1.", "time_embed.0."},
                                 {"time_embedding.linear_2.", "time_embed.2."},
                                 {"conv_norm_out.", "out.0."},
                                 {"conv_out.", "out.2."}};
constexpr Rename kVaeAttention[] = {
    {"group_norm.", "norm."}, {"to_q.", "q."}, {"to_k.", "k."}, {"to_v.", "v."}, {"to_out.0.", "proj_out."}};

template <size_t N>
std::string rename(const std::string& name, const Rename (&table)[N]) {
  for (const Rename& row : table)
    if (name.starts_with(row.ours)) return row.theirs + name.substr(std::string(row.ours).size());
  return name;
}

// "down_blocks.1.attentions.0.norm.weight" → {"down_blocks", 1, "attentions", 0, "norm.weight"}
struct BlockName {
  std::string side, kind, rest;
  int block = 0, index = 0;
};
bool parse_block(const std::string& name, BlockName& out) {
  static const std::regex kPattern(
      R"((down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*))");
  std::smatch m;
  if (!std::regex_match(name, m, kPattern)) return false;
  out = {m[1], m[3], m[5], std::stoi(m[2]), std::stoi(m[4])};
  return true;
}

}  // namespace

NameCandidates ldm_unet_names(const models::UNet2DConditionConfig& config) {
  return [config](const std::string& name) -> std::vector<std::string> {
    BlockName b;
    if (parse_block(name, b)) {
      const auto levels = static_cast<int>(config.levels.size());
      const bool down = b.side == "down_blocks";
      const auto& level = config.levels[static_cast<size_t>(down ? b.block : levels - 1 - b.block)];
      // input_blocks counts conv_in, then every residual block and downsampler; output_blocks every residual block.
      int position = down ? 1 : 0;
      for (int i = 0; i < b.block; ++i)
        position += config.levels[static_cast<size_t>(down ? i : levels - 1 - i)].layers + 1;
      const std::string blocks = down ? "input_blocks." : "output_blocks.";
      if (b.kind == "resnets")
        return {kUNet + fmt::format("{}{}.0.", blocks, position + b.index) + rename(b.rest, kResnet)};
      if (b.kind == "attentions") return {kUNet + fmt::format("{}{}.1.", blocks, position + b.index) + b.rest};
      if (b.kind == "downsamplers")
        return {kUNet + fmt::format("{}{}.0.op.", blocks, position + level.layers) + b.rest.substr(5)};
      const bool attention = level.attention_up && level.attention_layers > 0;
      return {kUNet + fmt::format("{}{}.{}.", blocks, position + level.layers, attention ? 2 : 1) + b.rest};
    }
    static const std::regex kMid(R"(mid_block\.(resnets|attentions)\.(\d+)\.(.*))");
    std::smatch m;
    if (std::regex_match(name, m, kMid)) {
      const bool attention = m[1] == "attentions";
      const std::string rest = attention ? m[3].str() : rename(m[3], kResnet);
      return {kUNet + fmt::format("middle_block.{}.", attention ? 1 : 2 * std::stoi(m[2])) + rest};
    }
    return {kUNet + rename(name, kUNetEdges)};
  };
}

NameCandidates ldm_vae_names(const models::AutoencoderKLConfig& config) {
  return [config](const std::string& name) -> std::vector<std::string> {
    const bool encoder = name.starts_with("encoder.");
    if (!encoder && !name.starts_with("decoder.")) return {kVae + name};  // quant_conv, post_quant_conv
    const std::string side = encoder ? "encoder." : "decoder.";
    std::string inner = name.substr(side.size());
    BlockName b;
    if (parse_block(inner, b)) {
      const auto levels = static_cast<int>(config.block_out_channels.size());
      // The original counts the decoder's levels from the full size down.
      const std::string level =
          fmt::format("{}.{}.", encoder ? "down" : "up", encoder ? b.block : levels - 1 - b.block);
      if (b.kind == "resnets") {
        const std::string rest = b.rest.starts_with("conv_shortcut.") ? "nin_shortcut." + b.rest.substr(14) : b.rest;
        inner = level + fmt::format("block.{}.", b.index) + rest;
      } else {
        inner = level + (encoder ? "downsample." : "upsample.") + b.rest;
      }
    } else if (inner.starts_with("mid_block.resnets.")) {
      inner = fmt::format("mid.block_{}.", inner[18] - '0' + 1) + inner.substr(20);
    } else if (inner.starts_with("mid_block.attentions.0.")) {
      inner = "mid.attn_1." + rename(inner.substr(23), kVaeAttention);
    } else if (inner.starts_with("conv_norm_out.")) {
      inner = "norm_out." + inner.substr(14);
    }
    return {kVae + side + inner};
  };
}

NameCandidates ldm_text_names() {
  return [](const std::string& name) -> std::vector<std::string> {
    return {kText + name, "cond_stage_model.transformer." + name};
  };
}

namespace {

/// Sizes of the file's tensors, with errors that name what is missing.
class Shapes {
 public:
  explicit Shapes(const io::WeightFiles& files) : files_(files) {}
  const Shape* find(const std::string& name) const {
    const io::TensorInfo* info = files_.find(name);
    return info ? &info->shape : nullptr;
  }
  int64_t dim(const std::string& name, int axis) const {
    const Shape* shape = find(name);
    if (!shape || shape->rank() <= axis)
      fail(ErrorCode::io, "{}: expected an original Stable Diffusion checkpoint, found no tensor '{}' of rank {}",
           files_.path(), name, axis + 1);
    return (*shape)[axis];
  }
  bool has(const std::string& name) const { return find(name) != nullptr; }

 private:
  const io::WeightFiles& files_;
};

models::UNet2DConditionConfig unet_config(const Shapes& shapes) {
  constexpr int kHeads = 8;
  const std::string prefix = kUNet;
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
      config.use_linear_projection = shapes.find(block + "1.proj_in.weight")->rank() == 2;
    }
  }
  if (level.layers == 0) fail(ErrorCode::io, "the checkpoint's input_blocks are incomplete");
  config.levels.push_back(level);
  for (models::UNetLevel& l : config.levels) l.attention_down = l.attention_up = l.attention_layers > 0;
  config.mid_attention_layers = depth_at(prefix + "middle_block.");
  return config;
}

models::AutoencoderKLConfig vae_config(const Shapes& shapes) {
  const std::string prefix = kVae;
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

models::ClipTextConfig text_config(const Shapes& shapes) {
  constexpr int64_t kHeadSize = 64;  // of every published CLIP text encoder
  std::string prefix = kText;
  if (!shapes.has(prefix + "embeddings.token_embedding.weight")) prefix = "cond_stage_model.transformer.";
  models::ClipTextConfig config;
  config.vocab_size = shapes.dim(prefix + "embeddings.token_embedding.weight", 0);
  config.hidden_size = shapes.dim(prefix + "embeddings.token_embedding.weight", 1);
  config.max_position_embeddings = shapes.dim(prefix + "embeddings.position_embedding.weight", 0);
  config.intermediate_size = shapes.dim(prefix + "encoder.layers.0.mlp.fc1.weight", 0);
  config.num_hidden_layers = 0;
  while (shapes.has(fmt::format("{}encoder.layers.{}.mlp.fc1.weight", prefix, config.num_hidden_layers)))
    ++config.num_hidden_layers;
  config.num_attention_heads = static_cast<int>(std::max<int64_t>(1, config.hidden_size / kHeadSize));
  return config;
}

}  // namespace

ModelFiles read_ldm_checkpoint(const std::string& path) {
  const io::WeightFiles weights = io::WeightFiles::open(path);
  const Shapes shapes(weights);
  if (!shapes.has(std::string(kUNet) + "input_blocks.0.0.weight"))
    fail(ErrorCode::unsupported,
         "{}: expected an original Stable Diffusion 1.x checkpoint (model.diffusion_model.…), found {} tensors "
         "beginning with '{}'",
         printable(path), weights.names().size(),
         weights.names().empty() ? "" : printable(weights.names().front(), 60));
  if (shapes.has("cond_stage_model.model.ln_final.weight") ||
      shapes.has("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight"))
    fail(ErrorCode::unsupported,
         "{}: expected a Stable Diffusion 1.x checkpoint; single files of SD 2.x and SDXL are not read yet",
         printable(path));
  ModelFiles files;
  files.path = path;
  files.layout = "original checkpoint";
  files.family = "Stable Diffusion 1.x";
  files.unet = unet_config(shapes);
  files.vae = vae_config(shapes);
  files.text_encoder = text_config(shapes);
  files.unet_weights = std::make_shared<FileWeights>(weights, ldm_unet_names(files.unet));
  files.vae_weights = std::make_shared<FileWeights>(weights, ldm_vae_names(files.vae));
  files.text_encoder_weights = std::make_shared<FileWeights>(weights, ldm_text_names());
  files.scheduler = {{"_class_name", "PNDMScheduler"},   {"beta_start", 0.00085},       {"beta_end", 0.012},
                     {"beta_schedule", "scaled_linear"}, {"num_train_timesteps", 1000}, {"skip_prk_steps", true},
                     {"set_alpha_to_one", false},        {"steps_offset", 1},           {"clip_sample", false}};
  return files;
}

}  // namespace easel::pipelines
