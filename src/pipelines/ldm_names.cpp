// The original layouts of Stable Diffusion: their names for ours.
#include <regex>

#include "base/fail.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace {

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
                                 {"time_embedding.cond_proj.", "time_embed.cond_proj."},
                                 {"add_embedding.linear_1.", "label_emb.0.0."},
                                 {"add_embedding.linear_2.", "label_emb.0.2."},
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

NameCandidates ldm_unet_names(const models::UNet2DConditionConfig& config, const std::string& prefix) {
  return [config, prefix](const std::string& name) -> std::vector<StoredName> {
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
        return {prefix + fmt::format("{}{}.0.", blocks, position + b.index) + rename(b.rest, kResnet)};
      if (b.kind == "attentions") return {prefix + fmt::format("{}{}.1.", blocks, position + b.index) + b.rest};
      if (b.kind == "downsamplers")
        return {prefix + fmt::format("{}{}.0.op.", blocks, position + level.layers) + b.rest.substr(5)};
      const bool attention = !level.attention_up.empty() && level.attention_up.back() > 0;
      return {prefix + fmt::format("{}{}.{}.", blocks, position + level.layers, attention ? 2 : 1) + b.rest};
    }
    static const std::regex kMid(R"(mid_block\.(resnets|attentions)\.(\d+)\.(.*))");
    std::smatch m;
    if (std::regex_match(name, m, kMid)) {
      const bool attention = m[1] == "attentions";
      const std::string rest = attention ? m[3].str() : rename(m[3], kResnet);
      return {prefix + fmt::format("middle_block.{}.", attention ? 1 : 2 * std::stoi(m[2])) + rest};
    }
    return {prefix + rename(name, kUNetEdges)};
  };
}

NameCandidates ldm_vae_names(const models::AutoencoderKLConfig& config, const std::string& prefix) {
  return [config, prefix](const std::string& name) -> std::vector<StoredName> {
    const bool encoder = name.starts_with("encoder.");
    if (!encoder && !name.starts_with("decoder.")) return {prefix + name};  // quant_conv, post_quant_conv
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
    return {prefix + side + inner};
  };
}

NameCandidates diffusers_vae_names(const std::string& prefix) {
  return [prefix](const std::string& name) -> std::vector<StoredName> {
    std::string old = name;
    for (const auto& [from, to] :
         {std::pair{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}})
      if (const size_t at = old.find(from); at != std::string::npos) old.replace(at, std::string(from).size(), to);
    return {prefix + name, prefix + old};
  };
}

NameCandidates prefixed_names(const std::string& prefix) {
  return [prefix](const std::string& name) { return std::vector<StoredName>{prefix + name}; };
}

namespace {

constexpr Rename kOpenClip[] = {{"embeddings.token_embedding.", "token_embedding."},
                                {"final_layer_norm.", "ln_final."}};
constexpr Rename kOpenClipLayer[] = {{"layer_norm1.", "ln_1."},
                                     {"layer_norm2.", "ln_2."},
                                     {"mlp.fc1.", "mlp.c_fc."},
                                     {"mlp.fc2.", "mlp.c_proj."},
                                     {"self_attn.out_proj.", "attn.out_proj."}};

}  // namespace

NameCandidates open_clip_names(const std::string& prefix) {
  return [prefix](const std::string& name) -> std::vector<StoredName> {
    if (name == "embeddings.position_embedding.weight") return {prefix + "positional_embedding"};
    if (name == "text_projection.weight") return {StoredName(prefix + "text_projection", 0, 1, true)};
    static const std::regex kLayer(R"(encoder\.layers\.(\d+)\.(.*))"), kFused(R"(self_attn\.([qkv])_proj\.(.*))");
    std::smatch layer, fused;
    if (!std::regex_match(name, layer, kLayer)) return {prefix + rename(name, kOpenClip)};
    const std::string block = prefix + "transformer.resblocks." + layer[1].str() + ".", rest = layer[2];
    if (!std::regex_match(rest, fused, kFused)) return {block + rename(rest, kOpenClipLayer)};
    const int part = fused[1] == "q" ? 0 : fused[1] == "k" ? 1 : 2;
    return {StoredName(block + "attn.in_proj_" + fused[2].str(), part, 3)};
  };
}

NameCandidates ldm_text_names(Family family, const std::string& part) {
  switch (family) {
    case Family::sd1: break;
    case Family::sd2: return open_clip_names("cond_stage_model.model.");
    case Family::sdxl:
      return part == "text_encoder_2" ? open_clip_names("conditioner.embedders.1.model.")
                                      : prefixed_names("conditioner.embedders.0.transformer.text_model.");
    case Family::sdxl_refiner: return open_clip_names("conditioner.embedders.0.model.");
  }
  return prefixed_names("cond_stage_model.transformer.text_model.");
}

std::vector<TensorLayout> layouts_of(const std::map<std::string, Shape>& weights, const NameCandidates& names) {
  std::vector<TensorLayout> out;
  std::map<std::string, size_t> known;
  for (const auto& [weight, shape] : weights) {
    const StoredName stored = names(weight).front();
    const auto [found, fresh] = known.emplace(stored.name, out.size());
    if (fresh) {
      TensorLayout layout{stored.name, shape, std::vector<std::string>(static_cast<size_t>(stored.of)),
                          stored.transposed};
      if (stored.transposed) layout.shape = {shape[1], shape[0]};
      if (stored.of > 1) layout.shape[0] *= stored.of;
      // The original autoencoder's attention is made of 1×1 convolutions.
      if (stored.name.find("attn_1.") != std::string::npos && shape.rank() == 2)
        layout.shape = {shape[0], shape[1], 1, 1};
      out.push_back(std::move(layout));
    }
    out[found->second].weights[static_cast<size_t>(stored.part)] = weight;
  }
  for (const TensorLayout& layout : out)
    for (const std::string& weight : layout.weights)
      if (weight.empty()) fail(ErrorCode::internal, "tensor '{}': a part of it is missing", layout.name);
  return out;
}

}  // namespace easel::pipelines
