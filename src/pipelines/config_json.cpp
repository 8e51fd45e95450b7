#include "pipelines/config_json.h"

#include <algorithm>

namespace easel::pipelines {

using Json = nlohmann::ordered_json;

namespace {

const char* activation_name(nn::Activation activation) {
  switch (activation) {
    case nn::Activation::silu: return "silu";
    case nn::Activation::quick_gelu: return "quick_gelu";
    case nn::Activation::gelu_tanh: return "gelu_new";
    default: return "gelu";
  }
}

// What is the same on all levels is one number in published files.
template <typename Values>
Json one_or_all(const Values& values) {
  if (values.empty()) return 1;
  const bool equal = std::all_of(values.begin(), values.end(), [&](auto value) { return value == values.front(); });
  return equal ? Json(values.front()) : Json(values);
}

// Depths of the transformers by level: a number where they are equal, 1 where there are none, as other files say there.
Json depths_json(const std::vector<std::vector<int>>& levels) {
  std::vector<Json> out;
  for (const std::vector<int>& level : levels) out.push_back(one_or_all(level));
  return one_or_all(out);
}

}  // namespace

Json unet_2d_condition_json(const models::UNet2DConditionConfig& config, int64_t sample_size) {
  std::vector<std::string> down, up;
  std::vector<int64_t> channels;
  std::vector<int> layers, heads;
  std::vector<std::vector<int>> depth_down, depth_up;
  std::vector<bool> only_cross;
  for (const models::UNetLevel& level : config.levels) {
    down.emplace_back(level.attention_down.empty() ? "DownBlock2D" : "CrossAttnDownBlock2D");
    up.emplace(up.begin(), level.attention_up.empty() ? "UpBlock2D" : "CrossAttnUpBlock2D");
    channels.push_back(level.channels);
    layers.push_back(level.layers);
    heads.push_back(level.heads);
    depth_down.push_back(level.attention_down);
    depth_up.insert(depth_up.begin(), level.attention_up);
    only_cross.push_back(level.only_cross_attention);
  }
  Json json = {{"_class_name", "UNet2DConditionModel"},
               {"act_fn", activation_name(config.act_fn)},
               {"attention_head_dim", one_or_all(heads)},
               {"block_out_channels", channels},
               {"center_input_sample", config.center_input_sample},
               {"conv_in_kernel", config.conv_in_kernel},
               {"conv_out_kernel", config.conv_out_kernel},
               {"cross_attention_dim", config.cross_attention_dim},
               {"down_block_types", down},
               {"downsample_padding", config.downsample_padding},
               {"flip_sin_to_cos", config.flip_sin_to_cos},
               {"freq_shift", config.freq_shift},
               {"in_channels", config.in_channels},
               {"layers_per_block", one_or_all(layers)},
               {"mid_block_scale_factor", config.mid_block_scale_factor},
               {"mid_block_type", nullptr},
               {"norm_eps", config.norm_eps},
               {"norm_num_groups", config.norm_num_groups},
               {"only_cross_attention", one_or_all(only_cross)},
               {"out_channels", config.out_channels},
               {"resnet_time_scale_shift", config.time_scale_shift ? "scale_shift" : "default"},
               {"sample_size", sample_size},
               {"transformer_layers_per_block", depths_json(depth_down)},
               {"up_block_types", up},
               {"use_linear_projection", config.use_linear_projection}};
  // What the mid block takes from the last level, which may have no attention of its own.
  if (config.mid_attention_layers > 0 && config.levels.back().attention_down.empty()) {
    depth_down.back() = depth_up.front() = {config.mid_attention_layers};
    json["transformer_layers_per_block"] = depths_json(depth_down);
  }
  const Json up_depths = depths_json(depth_up);
  Json mirrored = json["transformer_layers_per_block"];
  if (mirrored.is_array()) std::reverse(mirrored.begin(), mirrored.end());
  if (up_depths != mirrored) json["reverse_transformer_layers_per_block"] = up_depths;
  if (config.addition_embed_type == models::AddedEmbedding::text_time) {
    json["addition_embed_type"] = "text_time";
    json["addition_time_embed_dim"] = config.addition_time_embed_dim;
    json["projection_class_embeddings_input_dim"] = config.projection_class_embeddings_input_dim;
  }
  if (config.time_cond_proj_dim > 0) json["time_cond_proj_dim"] = config.time_cond_proj_dim;
  if (config.mid_block)
    json["mid_block_type"] = config.mid_attention_layers > 0 ? "UNetMidBlock2DCrossAttn" : "UNetMidBlock2D";
  return json;
}

Json autoencoder_kl_json(const models::AutoencoderKLConfig& config) {
  const size_t levels = config.block_out_channels.size();
  Json json = {{"_class_name", "AutoencoderKL"},
               {"act_fn", "silu"},
               {"block_out_channels", config.block_out_channels},
               {"down_block_types", std::vector<std::string>(levels, "DownEncoderBlock2D")},
               {"in_channels", config.in_channels},
               {"latent_channels", config.latent_channels},
               {"layers_per_block", config.layers_per_block},
               {"mid_block_add_attention", config.mid_block_add_attention},
               {"norm_num_groups", config.norm_num_groups},
               {"out_channels", config.out_channels},
               {"scaling_factor", config.scaling_factor},
               {"shift_factor", config.shift_factor},
               {"up_block_types", std::vector<std::string>(levels, "UpDecoderBlock2D")},
               {"use_post_quant_conv", config.use_post_quant_conv},
               {"use_quant_conv", config.use_quant_conv}};
  if (!config.latents_std.empty()) {
    json["latents_mean"] = config.latents_mean;
    json["latents_std"] = config.latents_std;
  }
  return json;
}

Json clip_text_json(const models::ClipTextConfig& config) {
  Json json = {{"architectures", {config.projection_dim > 0 ? "CLIPTextModelWithProjection" : "CLIPTextModel"}},
               {"eos_token_id", config.eos_token_id},
               {"hidden_act", activation_name(config.hidden_act)},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"layer_norm_eps", config.layer_norm_eps},
               {"max_position_embeddings", config.max_position_embeddings},
               {"model_type", "clip_text_model"},
               {"num_attention_heads", config.num_attention_heads},
               {"num_hidden_layers", config.num_hidden_layers},
               {"vocab_size", config.vocab_size}};
  if (config.projection_dim > 0) json["projection_dim"] = config.projection_dim;
  return json;
}

}  // namespace easel::pipelines
