#include "pipelines/configs.h"

#include <algorithm>
#include <map>

#include "base/fail.h"

namespace easel::pipelines {

using io::JsonObject;
using models::UNet2DConditionConfig;
using models::UNetLevel;

namespace {

constexpr int64_t kMaxChannels = 1 << 20;
constexpr int64_t kMaxLayers = 1 << 10;
constexpr const char* kWithProjection = "CLIPTextModelWithProjection";

void expect_class(const JsonObject& json, std::string_view key, std::string_view expected) {
  if (json.has(key) && json.string(key) != expected)
    fail(ErrorCode::unsupported, "{}: key '{}': expected {}, found '{}'", json.where(), key, expected,
         printable(json.string(key)));
}

nn::Activation activation(const JsonObject& json, std::string_view key, std::string_view fallback) {
  static const std::map<std::string, nn::Activation> kNames = {{"silu", nn::Activation::silu},
                                                               {"swish", nn::Activation::silu},
                                                               {"gelu", nn::Activation::gelu_erf},
                                                               {"quick_gelu", nn::Activation::quick_gelu},
                                                               {"relu", nn::Activation::relu},
                                                               {"gelu_new", nn::Activation::gelu_tanh},
                                                               {"gelu_pytorch_tanh", nn::Activation::gelu_tanh}};
  const auto found = kNames.find(json.string_or(key, fallback));
  if (found == kNames.end()) json.fail_key(key, "silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu or relu");
  return found->second;
}

// Keys whose only runnable value is the default, which is also what an absent key means.
void expect_absent(const JsonObject& json, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys)
    if (json.has(key) && json.json().at(std::string(key)) != false)
      fail(ErrorCode::unsupported, "{}: key '{}': expected null or false, found {}", json.where(), key,
           printable(json.json().at(std::string(key)).dump()));
}

// One number for all levels, or one per level.
std::vector<int64_t> per_level(const JsonObject& json, std::string_view key, size_t levels, int64_t fallback,
                               int64_t max) {
  if (!json.has(key)) return std::vector<int64_t>(levels, fallback);
  std::vector<int64_t> values = json.integer_or_integers(key, 1, max);
  if (values.size() == 1) values.assign(levels, values[0]);
  if (values.size() != levels) json.fail_key(key, fmt::format("one number or {}", levels));
  return values;
}

std::vector<bool> booleans_per_level(const JsonObject& json, std::string_view key, size_t levels) {
  if (!json.has(key)) return std::vector<bool>(levels, false);
  const nlohmann::json& value = json.json().at(std::string(key));
  if (value.is_boolean()) return std::vector<bool>(levels, value.get<bool>());
  std::vector<bool> out;
  if (value.is_array())
    for (const auto& item : value)
      if (item.is_boolean()) out.push_back(item.get<bool>());
  if (out.size() != levels) json.fail_key(key, fmt::format("one boolean or {}", levels));
  return out;
}

// Whether each block, in the order of `key`, attends to the text.
std::vector<bool> attention_blocks(const JsonObject& json, std::string_view key, std::string_view with,
                                   std::string_view without, size_t levels) {
  std::vector<bool> out;
  for (const std::string& type : json.strings(key)) {
    if (type != with && type != without)
      fail(ErrorCode::unsupported, "{}: key '{}': expected {} or {}, found '{}'", json.where(), key, with, without,
           printable(type));
    out.push_back(type == with);
  }
  if (out.size() != levels) json.fail_key(key, fmt::format("{} block types, one per level", levels));
  return out;
}

void parse_embeddings(const JsonObject& json, UNet2DConditionConfig& config) {
  using models::AddedEmbedding;
  using models::ClassEmbedding;
  static const std::map<std::string, ClassEmbedding> kClass = {
      {"timestep", ClassEmbedding::timestep},
      {"identity", ClassEmbedding::identity},
      {"projection", ClassEmbedding::projection},
      {"simple_projection", ClassEmbedding::simple_projection}};
  if (json.has("class_embed_type")) {
    const auto found = kClass.find(json.string("class_embed_type"));
    if (found == kClass.end())
      json.fail_key("class_embed_type", "null, timestep, identity, projection or simple_projection");
    config.class_embed_type = found->second;
  } else if (json.has("num_class_embeds")) {
    config.class_embed_type = ClassEmbedding::table;
    config.num_class_embeds = json.integer("num_class_embeds", 1, kMaxChannels);
  }
  config.projection_class_embeddings_input_dim =
      json.integer_or("projection_class_embeddings_input_dim", 0, 0, kMaxChannels);
  if (json.has("addition_embed_type")) {
    if (json.string("addition_embed_type") != "text_time")
      fail(ErrorCode::unsupported, "{}: key 'addition_embed_type': expected null or text_time, found '{}'",
           json.where(), printable(json.string("addition_embed_type")));
    config.addition_embed_type = AddedEmbedding::text_time;
    config.addition_time_embed_dim = static_cast<int>(json.integer("addition_time_embed_dim", 1, kMaxChannels));
    // Six sizes and crops beside the pooled text, unless the text encoder turns out to leave room for five.
    for (const int ids : {6, 5})
      if (config.pooled_dim <= 0)
        config.pooled_dim = config.projection_class_embeddings_input_dim - ids * config.addition_time_embed_dim;
    if (config.pooled_dim <= 0)
      json.fail_key("projection_class_embeddings_input_dim", "more than five times addition_time_embed_dim");
  }
  config.time_cond_proj_dim = json.integer_or("time_cond_proj_dim", 0, 0, kMaxChannels);
  if (config.time_cond_proj_dim == 1) json.fail_key("time_cond_proj_dim", "null or a number of at least 2");
}

// One depth for the residual blocks of a level, or a list of them.
std::vector<int> depths_of(const JsonObject& json, std::string_view key, const nlohmann::json& value, int64_t blocks) {
  const auto fail_value = [&] {
    json.fail_key(key, fmt::format("numbers from 1 to {}, or lists of {} for this level", kMaxLayers, blocks));
  };
  const auto number = [&](const nlohmann::json& item) {
    if (!item.is_number_integer() || item < 1 || item > kMaxLayers) fail_value();
    return item.get<int>();
  };
  if (!value.is_array()) return std::vector<int>(static_cast<size_t>(blocks), number(value));
  std::vector<int> out;
  for (const nlohmann::json& item : value) out.push_back(number(item));
  if (static_cast<int64_t>(out.size()) != blocks) fail_value();
  return out;
}

/// transformer_layers_per_block: one number, one per level, or a list per level; then reverse_… says the way up.
struct Depths {
  std::vector<std::vector<int>> down, up;  ///< by level; up in the order of the levels, from the full size on
  int mid = 1;
};
Depths transformer_depths(const JsonObject& json, const std::vector<int64_t>& layers) {
  constexpr std::string_view kDown = "transformer_layers_per_block", kUp = "reverse_transformer_layers_per_block";
  const size_t levels = layers.size();
  const auto per_block = [&](std::string_view key) {
    const nlohmann::json value = json.has(key) ? json.json().at(std::string(key)) : nlohmann::json(1);
    if (value.is_array() && value.size() != levels) json.fail_key(key, fmt::format("one entry or {}", levels));
    return value.is_array() ? value : nlohmann::json(std::vector<nlohmann::json>(levels, value));
  };
  const nlohmann::json down = per_block(kDown);
  nlohmann::json up = nlohmann::json::array();
  if (json.has(kUp)) {
    const nlohmann::json reversed = per_block(kUp);
    for (size_t i = levels; i-- > 0;) up.push_back(reversed[i]);
  } else {
    for (const nlohmann::json& entry : down)
      if (entry.is_array()) json.fail_key(kDown, fmt::format("numbers, or {} beside lists", kUp));
    up = down;
  }
  Depths out;
  for (size_t i = 0; i < levels; ++i) {
    out.down.push_back(depths_of(json, kDown, down[i], layers[i]));
    out.up.push_back(depths_of(json, json.has(kUp) ? kUp : kDown, up[i], layers[i] + 1));
  }
  out.mid = out.down.back().front();
  return out;
}

// No mid block at all, one residual block alone, or two with a transformer between them.
void parse_mid_block(const JsonObject& json, int depth, UNet2DConditionConfig& config) {
  const nlohmann::json& raw = json.json();
  config.mid_block = !(raw.contains("mid_block_type") && raw["mid_block_type"].is_null());
  config.mid_attention_layers = depth;
  if (!config.mid_block || !json.has("mid_block_type")) return;
  const std::string type = json.string("mid_block_type");
  if (type != "UNetMidBlock2DCrossAttn" && type != "UNetMidBlock2D")
    fail(ErrorCode::unsupported,
         "{}: key 'mid_block_type': expected UNetMidBlock2DCrossAttn, UNetMidBlock2D or null, found '{}'", json.where(),
         printable(type));
  if (type == "UNetMidBlock2D") config.mid_attention_layers = 0;
}

}  // namespace

UNet2DConditionConfig unet_2d_condition_config(const JsonObject& json) {
  expect_class(json, "_class_name", "UNet2DConditionModel");
  expect_absent(json, {"num_attention_heads", "dual_cross_attention", "encoder_hid_dim", "encoder_hid_dim_type",
                       "resnet_skip_time_act", "time_embedding_dim", "time_embedding_act_fn", "timestep_post_act",
                       "class_embeddings_concat", "cross_attention_norm"});
  expect_class(json, "time_embedding_type", "positional");
  expect_class(json, "attention_type", "default");
  UNet2DConditionConfig config;
  config.in_channels = json.integer_or("in_channels", 4, 1, kMaxChannels);
  config.out_channels = json.integer_or("out_channels", 4, 1, kMaxChannels);
  if (json.has("cross_attention_dim")) {
    const std::vector<int64_t> dims = json.integer_or_integers("cross_attention_dim", 1, kMaxChannels);
    if (dims.empty() || std::count(dims.begin(), dims.end(), dims[0]) != static_cast<ptrdiff_t>(dims.size()))
      json.fail_key("cross_attention_dim", "one number, or equal ones");
    config.cross_attention_dim = dims[0];
  } else {
    config.cross_attention_dim = 1280;
  }
  const std::vector<int64_t> channels = json.integers_or("block_out_channels", {320, 640, 1280, 1280}, 1, kMaxChannels);
  const size_t levels = channels.size();
  if (levels == 0 || levels > 16) json.fail_key("block_out_channels", "1 to 16 channel counts");

  const std::vector<int64_t> layers = per_level(json, "layers_per_block", levels, 2, kMaxLayers);
  const std::vector<int64_t> heads = per_level(json, "attention_head_dim", levels, 8, kMaxChannels);
  const Depths depth = transformer_depths(json, layers);
  const std::vector<bool> only_cross = booleans_per_level(json, "only_cross_attention", levels);
  std::vector<bool> down(levels, true), up(levels, true);
  down.back() = up.front() = false;  // the classes' own default
  if (json.has("down_block_types"))
    down = attention_blocks(json, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", levels);
  if (json.has("up_block_types"))
    up = attention_blocks(json, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", levels);
  for (size_t i = 0; i < levels; ++i) {
    UNetLevel level;
    level.channels = channels[i];
    level.layers = static_cast<int>(layers[i]);
    level.heads = static_cast<int>(heads[i]);
    level.only_cross_attention = only_cross[i];
    if (down[i]) level.attention_down = depth.down[i];
    if (up[levels - 1 - i]) level.attention_up = depth.up[i];
    config.levels.push_back(level);
  }
  parse_mid_block(json, depth.mid, config);
  config.mid_heads = static_cast<int>(heads.back());
  config.use_linear_projection = json.boolean_or("use_linear_projection", false);
  config.norm_num_groups = static_cast<int>(json.integer_or("norm_num_groups", 32, 1, kMaxChannels));
  for (size_t i = 0; i < levels; ++i)
    if (channels[i] % config.norm_num_groups != 0)
      json.fail_key("block_out_channels", fmt::format("multiples of norm_num_groups ({})", config.norm_num_groups));
  config.norm_eps = json.number_or("norm_eps", 1e-5);
  config.act_fn = activation(json, "act_fn", "silu");
  config.flip_sin_to_cos = json.boolean_or("flip_sin_to_cos", true);
  config.freq_shift = json.number_or("freq_shift", 0);
  config.downsample_padding = static_cast<int>(json.integer_or("downsample_padding", 1, 0, 1));
  config.mid_block_scale_factor = json.number_or("mid_block_scale_factor", 1);
  if (config.mid_block_scale_factor == 0) json.fail_key("mid_block_scale_factor", "a number other than 0");
  if (json.number_or("resnet_out_scale_factor", 1) != 1) json.fail_key("resnet_out_scale_factor", "1");
  const std::string shift = json.string_or("resnet_time_scale_shift", "default");
  if (shift != "default" && shift != "scale_shift") json.fail_key("resnet_time_scale_shift", "default or scale_shift");
  config.time_scale_shift = shift == "scale_shift";
  config.center_input_sample = json.boolean_or("center_input_sample", false);
  config.conv_in_kernel = static_cast<int>(json.integer_or("conv_in_kernel", 3, 1, 15));
  config.conv_out_kernel = static_cast<int>(json.integer_or("conv_out_kernel", 3, 1, 15));
  parse_embeddings(json, config);
  return config;
}

models::AutoencoderKLConfig autoencoder_kl_config(const JsonObject& json) {
  expect_class(json, "_class_name", "AutoencoderKL");
  expect_class(json, "act_fn", "silu");
  models::AutoencoderKLConfig config;
  config.in_channels = json.integer_or("in_channels", 3, 1, 64);
  config.out_channels = json.integer_or("out_channels", 3, 1, 64);
  config.latent_channels = json.integer_or("latent_channels", 4, 1, 4096);
  config.block_out_channels = json.integers_or("block_out_channels", {64}, 1, kMaxChannels);
  const size_t levels = config.block_out_channels.size();
  if (levels == 0 || levels > 8) json.fail_key("block_out_channels", "1 to 8 channel counts");
  const auto expect_types = [&](std::string_view key, std::string_view type) {
    if (!json.has(key)) return;
    const std::vector<std::string> types = json.strings(key);
    if (types.size() != levels) json.fail_key(key, fmt::format("{} block types, one per level", levels));
    for (const std::string& found : types)
      if (found != type)
        fail(ErrorCode::unsupported, "{}: key '{}': expected {}, found '{}'", json.where(), key, type,
             printable(found));
  };
  expect_types("down_block_types", "DownEncoderBlock2D");
  expect_types("up_block_types", "UpDecoderBlock2D");
  config.layers_per_block = static_cast<int>(json.integer_or("layers_per_block", 1, 1, kMaxLayers));
  config.norm_num_groups = static_cast<int>(json.integer_or("norm_num_groups", 32, 1, kMaxChannels));
  for (const int64_t channels : config.block_out_channels)
    if (channels % config.norm_num_groups != 0)
      json.fail_key("block_out_channels", fmt::format("multiples of norm_num_groups ({})", config.norm_num_groups));
  config.use_quant_conv = json.boolean_or("use_quant_conv", true);
  config.use_post_quant_conv = json.boolean_or("use_post_quant_conv", true);
  config.mid_block_add_attention = json.boolean_or("mid_block_add_attention", true);
  config.scaling_factor = json.number_or("scaling_factor", 0.18215);
  if (config.scaling_factor == 0) json.fail_key("scaling_factor", "a number other than 0");
  config.shift_factor = json.number_or("shift_factor", 0);
  if (json.has("latents_mean") || json.has("latents_std")) {
    config.latents_mean = json.numbers("latents_mean");
    config.latents_std = json.numbers("latents_std");
    const auto channels = static_cast<size_t>(config.latent_channels);
    if (config.latents_mean.size() != channels)
      json.fail_key("latents_mean", fmt::format("{} numbers, one per latent channel", channels));
    if (config.latents_std.size() != channels ||
        std::ranges::any_of(config.latents_std, [](double x) { return !(x > 0); }))
      json.fail_key("latents_std", fmt::format("{} positive numbers, one per latent channel", channels));
  }
  return config;
}

models::AutoencoderTinyConfig autoencoder_tiny_config(const JsonObject& json) {
  expect_class(json, "_class_name", "AutoencoderTiny");
  expect_class(json, "upsample_fn", "nearest");
  models::AutoencoderTinyConfig config;
  config.in_channels = json.integer_or("in_channels", 3, 1, 64);
  config.out_channels = json.integer_or("out_channels", 3, 1, 64);
  config.latent_channels = json.integer_or("latent_channels", 4, 1, 4096);
  const auto half = [&](const std::string& part, std::vector<int>& blocks) {
    const std::string widths_key = part + "_block_out_channels", blocks_key = "num_" + part + "_blocks";
    const std::vector<int64_t> fallback(blocks.begin(), blocks.end());
    const std::vector<int64_t> counts = json.integers_or(blocks_key, fallback, 0, kMaxLayers);
    const std::vector<int64_t> widths = json.integers_or(widths_key, {64, 64, 64, 64}, 1, kMaxChannels);
    if (counts.empty() || counts.size() > 8) json.fail_key(blocks_key, "1 to 8 numbers of blocks");
    if (widths.size() != counts.size()) json.fail_key(widths_key, fmt::format("{} channel counts", counts.size()));
    for (const int64_t width : widths)
      if (width != widths.front()) json.fail_key(widths_key, "one number of channels on all levels");
    blocks.assign(counts.begin(), counts.end());
    return widths.front();
  };
  config.encoder_channels = half("encoder", config.num_encoder_blocks);
  config.decoder_channels = half("decoder", config.num_decoder_blocks);
  config.act_fn = activation(json, "act_fn", "relu");
  config.upsampling_scaling_factor = static_cast<int>(json.integer_or("upsampling_scaling_factor", 2, 2, 2));
  config.scaling_factor = json.number_or("scaling_factor", 1);
  if (config.scaling_factor == 0) json.fail_key("scaling_factor", "a number other than 0");
  config.shift_factor = json.number_or("shift_factor", 0);
  return config;
}

models::ClipTextConfig clip_text_config(const JsonObject& json) {
  if (json.has("architectures")) {
    for (const std::string& name : json.strings("architectures"))
      if (name != "CLIPTextModel" && name != kWithProjection)
        fail(ErrorCode::unsupported, "{}: key 'architectures': expected CLIPTextModel, found '{}'", json.where(),
             printable(name));
  }
  models::ClipTextConfig config;
  config.vocab_size = json.integer_or("vocab_size", 49408, 1, 1 << 24);
  config.hidden_size = json.integer_or("hidden_size", 512, 1, kMaxChannels);
  config.intermediate_size = json.integer_or("intermediate_size", 2048, 1, kMaxChannels);
  config.num_hidden_layers = static_cast<int>(json.integer_or("num_hidden_layers", 12, 1, kMaxLayers));
  config.num_attention_heads = static_cast<int>(json.integer_or("num_attention_heads", 8, 1, kMaxChannels));
  if (config.hidden_size % config.num_attention_heads != 0)
    json.fail_key("num_attention_heads", fmt::format("a divisor of hidden_size ({})", config.hidden_size));
  config.max_position_embeddings = json.integer_or("max_position_embeddings", 77, 3, 1 << 20);
  config.layer_norm_eps = json.number_or("layer_norm_eps", 1e-5);
  config.hidden_act = activation(json, "hidden_act", "quick_gelu");
  // Both classes have the key; only one of them the weights.
  if (json.has("architectures") && json.strings("architectures") == std::vector<std::string>{kWithProjection})
    config.projection_dim = json.integer_or("projection_dim", 512, 1, kMaxChannels);
  config.eos_token_id = json.integer_or("eos_token_id", 49407, 0, 1 << 24);
  return config;
}

models::ClipVisionConfig clip_vision_config(const JsonObject& json) {
  bool projected = true;
  if (json.has("architectures")) {
    const std::vector<std::string> names = json.strings("architectures");
    for (const std::string& name : names)
      if (name != "CLIPVisionModelWithProjection" && name != "CLIPVisionModel" && name != "CLIPModel")
        fail(ErrorCode::unsupported, "{}: key 'architectures': expected CLIPVisionModelWithProjection, found '{}'",
             json.where(), printable(name));
    projected = names != std::vector<std::string>{"CLIPVisionModel"};
  }
  const JsonObject vision = json.is_object("vision_config") ? json.object("vision_config") : json;
  models::ClipVisionConfig config;
  config.hidden_size = vision.integer_or("hidden_size", 768, 1, kMaxChannels);
  config.intermediate_size = vision.integer_or("intermediate_size", 3072, 1, kMaxChannels);
  config.num_hidden_layers = static_cast<int>(vision.integer_or("num_hidden_layers", 12, 1, kMaxLayers));
  config.num_attention_heads = static_cast<int>(vision.integer_or("num_attention_heads", 12, 1, kMaxChannels));
  if (config.hidden_size % config.num_attention_heads != 0)
    vision.fail_key("num_attention_heads", fmt::format("a divisor of hidden_size ({})", config.hidden_size));
  config.num_channels = vision.integer_or("num_channels", 3, 3, 3);
  config.image_size = vision.integer_or("image_size", 224, 1, 4096);
  config.patch_size = static_cast<int>(vision.integer_or("patch_size", 32, 1, config.image_size));
  config.layer_norm_eps = vision.number_or("layer_norm_eps", 1e-5);
  config.hidden_act = activation(vision, "hidden_act", "quick_gelu");
  // The outer one holds for a whole CLIP.
  config.projection_dim = projected ? json.integer_or("projection_dim", 512, 1, kMaxChannels) : 0;
  return config;
}

}  // namespace easel::pipelines
