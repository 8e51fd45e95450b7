#include "pipelines/control_files.h"

#include <filesystem>

#include "base/fail.h"
#include "pipelines/configs.h"
#include "pipelines/configured.h"
#include "pipelines/families.h"

namespace easel::pipelines {

using models::ControlNetConfig;
using models::T2IAdapterConfig;
using models::UNet2DConditionConfig;

namespace {

constexpr const char* kEmbedding = "controlnet_cond_embedding.";

// input_hint_block.0, .2, .4, …: convolutions with activations between them.
std::string hint_block(size_t index) { return fmt::format("input_hint_block.{}.", 2 * index); }

// Whether the encoder attends to the text at all; small ones do not.
bool attends(const UNet2DConditionConfig& encoder) {
  return encoder.mid_attention_layers > 0 || std::ranges::any_of(encoder.levels, [](const models::UNetLevel& level) {
           return !level.attention_down.empty();
         });
}

std::vector<std::pair<int64_t, int>> level_sizes(const UNet2DConditionConfig& encoder) {
  std::vector<std::pair<int64_t, int>> out;
  for (const models::UNetLevel& level : encoder.levels) out.emplace_back(level.channels, level.layers);
  return out;
}

// The widths of the picture's embedding: every other convolution is wider than the one before.
std::vector<int64_t> embedding_widths(const io::WeightFiles& files, const std::function<std::string(size_t)>& conv,
                                      const std::string& where) {
  std::vector<int64_t> out;
  for (size_t i = 0; i < 16; i += 2) {
    const io::TensorInfo* info = files.find(conv(i));
    if (!info && i > 0) break;
    if (!info || info->shape.rank() != 4)
      fail(ErrorCode::io, "{}: expected a convolution '{}', found {}", where, conv(i),
           info ? info->shape.str() : "none");
    out.push_back(info->shape[0]);
  }
  return out;
}

// Settings that no tensor shows, from the UNet of which the network began as a copy.
void take_over(const UNet2DConditionConfig& like, UNet2DConditionConfig& encoder) {
  if (level_sizes(encoder) != level_sizes(like)) return;
  for (size_t i = 0; i < encoder.levels.size(); ++i) {
    encoder.levels[i].heads = like.levels[i].heads;
    encoder.levels[i].only_cross_attention = like.levels[i].only_cross_attention;
  }
  encoder.mid_heads = like.mid_heads;
  encoder.norm_num_groups = like.norm_num_groups;
  encoder.norm_eps = like.norm_eps;
  encoder.act_fn = like.act_fn;
  encoder.flip_sin_to_cos = like.flip_sin_to_cos;
  encoder.freq_shift = like.freq_shift;
  encoder.downsample_padding = like.downsample_padding;
  encoder.mid_block_scale_factor = like.mid_block_scale_factor;
  encoder.time_scale_shift = like.time_scale_shift;
  if (encoder.projection_class_embeddings_input_dim == like.projection_class_embeddings_input_dim) {
    encoder.addition_time_embed_dim = like.addition_time_embed_dim;
    encoder.pooled_dim = like.pooled_dim;
  }
}

ControlFiles control_net_from_tensors(const io::WeightFiles& files, const Match& match, const std::string& where,
                                      const UNet2DConditionConfig& like) {
  if (files.find("difference"))
    fail(ErrorCode::unsupported, "{}: expected a whole ControlNet, found the difference from another model", where);
  const bool diffusers = match.row->layout == std::string("diffusers");
  const std::string inside = "control_model.";
  const std::string prefix = match.tensor.starts_with(inside) ? inside : match.prefix;
  ControlNetConfig config;
  config.encoder = read_encoder_config(files, prefix, diffusers, where);
  const auto conv = [&](size_t i) {
    if (!diffusers) return prefix + hint_block(i) + "weight";
    return prefix + kEmbedding + (i == 0 ? "conv_in.weight" : fmt::format("blocks.{}.weight", i - 1));
  };
  config.conditioning_embedding_out_channels = embedding_widths(files, conv, where);
  config.conditioning_channels = files.find(conv(0))->shape[1];
  take_over(like, config.encoder);
  const auto names = diffusers ? prefixed_names(prefix) : ldm_control_net_names(config, prefix);
  return {config, {}, std::make_shared<FileWeights>(files, names)};
}

// Channels of the picture, and how far its sides are divided first, from the width of the first convolution; those of
// the published networks.
std::pair<int64_t, int64_t> unshuffled(int64_t width, const std::string& where) {
  for (const int64_t factor : {8, 16})
    for (const int64_t channels : {1, 3})
      if (width == channels * factor * factor) return {channels, factor};
  fail(ErrorCode::unsupported, "{}: expected a first convolution of 64, 192, 256 or 768 channels, found {}", where,
       width);
}

ControlFiles adapter_from_tensors(const io::WeightFiles& files, const Match& match, const std::string& where) {
  using Kind = T2IAdapterConfig::Kind;
  const bool diffusers = match.row->layout == std::string("diffusers");
  const std::string body = diffusers ? "adapter.body." : match.prefix + "body.";
  const auto find = [&](const std::string& name) { return files.find(name); };
  const auto dim = [&](const std::string& name, int axis) {
    const io::TensorInfo* info = find(name);
    if (!info || info->shape.rank() != 4)
      fail(ErrorCode::io, "{}: expected a convolution '{}', found {}", where, name, info ? info->shape.str() : "none");
    return info->shape[axis];
  };
  T2IAdapterConfig config;
  config.channels.clear();
  config.num_res_blocks = 0;
  const auto block = [&](int level, int index) {
    if (diffusers) return fmt::format("{}{}.resnets.{}.block1.weight", body, level, index);
    return config.kind == Kind::light ? fmt::format("{}{}.body.{}.block1.weight", body, level, index)
                                      : fmt::format("{}{}.block1.weight", body, level * config.num_res_blocks + index);
  };
  if (find(body + "0.out_conv.weight")) {
    config.kind = Kind::light;
    std::tie(config.in_channels, config.downscale_factor) = unshuffled(dim(body + "0.in_conv.weight", 1), where);
    for (int i = 0; find(fmt::format("{}{}.out_conv.weight", body, i)); ++i)
      config.channels.push_back(dim(fmt::format("{}{}.out_conv.weight", body, i), 0));
    config.channels.pop_back();  // the last two are as wide
    while (find(block(0, config.num_res_blocks))) ++config.num_res_blocks;
  } else {
    const std::string first = diffusers ? "adapter.conv_in.weight" : match.prefix + "conv_in.weight";
    std::tie(config.in_channels, config.downscale_factor) = unshuffled(dim(first, 1), where);
    if (config.downscale_factor == 16) config.kind = Kind::full_xl;
    // The original program counts the blocks of all levels through, and all its networks have two on each.
    if (diffusers)
      while (find(block(0, config.num_res_blocks))) ++config.num_res_blocks;
    else
      config.num_res_blocks = 2;
    for (int i = 0; i < 16 && find(block(i, 0)); ++i) config.channels.push_back(dim(block(i, 0), 0));
  }
  if (config.channels.empty()) fail(ErrorCode::io, "{}: expected the levels of a T2I-Adapter, found none", where);
  const auto names = diffusers ? prefixed_names("") : original_adapter_names(config);
  return {{}, config, std::make_shared<FileWeights>(files, names)};
}

// What a file of tensors alone says.
ControlFiles read_from_tensors(const std::string& path, const std::string& where, const UNet2DConditionConfig& like) {
  const io::WeightFiles files = io::WeightFiles::open(path);
  const Identity identity = identify(files);
  if (files.names().empty()) fail(ErrorCode::io, "{}: expected a ControlNet or T2I-Adapter, found no tensors", where);
  const bool lora = identity.find(Part::lora) != nullptr;
  const Match *net = identity.find(Part::control_net), *adapter = identity.find(Part::adapter);
  if (!lora && net && net->row->family == std::string("ControlNet"))
    return control_net_from_tensors(files, *net, where, like);
  if (!lora && !net && adapter && adapter->row->family == std::string("T2I adapter"))
    return adapter_from_tensors(files, *adapter, where);
  const bool other_kind = net && !lora;
  std::string what = other_kind ? net->row->family : identity.summary();
  if (what == "unknown")
    what = fmt::format("{} tensors of an unknown model, the first '{}'", files.names().size(),
                       printable(files.names().front(), 80));
  fail(ErrorCode::unsupported, "{}: expected a ControlNet or T2I-Adapter, found {}{}", where, what,
       other_kind ? ", which is not run yet" : "");
}

}  // namespace

ControlFiles read_control(const std::string& path, const std::string& where, const UNet2DConditionConfig& like) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) fail(ErrorCode::io, "{}: expected a file or folder, found nothing", where);
  const bool folder = std::filesystem::is_directory(path, error);
  if (folder) {
    const std::filesystem::path config = std::filesystem::path(path) / "config.json";
    const bool whole = std::filesystem::exists(std::filesystem::path(path) / "model_index.json", error);
    if (whole || !std::filesystem::exists(config, error))
      fail(ErrorCode::io, "{}: expected the folder of a ControlNet or T2I-Adapter with its config.json, found {}",
           where, whole ? "that of a whole model" : describe_folder(path));
    const io::JsonObject json = io::JsonObject::from_file(config.string());
    const std::string name = json.is_string("_class_name") ? json.string("_class_name") : "none";
    if (name != "ControlNetModel" && name != "T2IAdapter")
      fail(ErrorCode::unsupported, "{}: expected a ControlNetModel or T2IAdapter, found {}", where,
           describe_folder(path));
    if (name == "T2IAdapter") {
      const auto found =
          read_configured(path, {name}, t2i_adapter_config, {"diffusion_pytorch_model"}, prefixed_names(""), true);
      return {{}, found->config, found->weights};
    }
    const auto found =
        read_configured(path, {name}, control_net_config, {"diffusion_pytorch_model"}, prefixed_names(""), true);
    return {found->config, {}, found->weights};
  }
  // A file in diffusers' names may lie beside its configuration.
  if (auto found = read_configured(path, {"ControlNetModel"}, control_net_config, {}, prefixed_names(""), true))
    if (found->weights->stored("controlnet_cond_embedding.conv_in.weight")) return {found->config, {}, found->weights};
  if (auto found = read_configured(path, {"T2IAdapter"}, t2i_adapter_config, {}, prefixed_names(""), true))
    if (found->weights->stored("adapter.body.0.resnets.0.block1.weight")) return {{}, found->config, found->weights};
  return read_from_tensors(path, where, like);
}

std::string describe_encoder(const UNet2DConditionConfig& encoder) {
  std::vector<int64_t> channels;
  for (const models::UNetLevel& level : encoder.levels) channels.push_back(level.channels);
  return fmt::format("{} (attention to {} features, levels of {} channels)", to_string(family_of(encoder)),
                     encoder.cross_attention_dim, fmt::join(channels, ", "));
}

void expect_fit(const ControlNetConfig& control_net, const ModelFiles& model, const std::string& where) {
  const UNet2DConditionConfig &own = control_net.encoder, &unet = model.unet;
  const bool told = own.addition_embed_type == unet.addition_embed_type &&
                    (own.addition_embed_type == models::AddedEmbedding::none ||
                     (own.pooled_dim == unet.pooled_dim && own.time_ids() == unet.time_ids()));
  const bool text = !attends(own) || own.cross_attention_dim == unet.cross_attention_dim;
  if (!(told || own.addition_embed_type == models::AddedEmbedding::none) || !text ||
      level_sizes(own) != level_sizes(unet))
    fail(ErrorCode::unsupported, "{}: expected a ControlNet for the model's {}, found one for {}", where,
         describe_encoder(unet), describe_encoder(own));
  if (own.mid_block != unet.mid_block)
    fail(ErrorCode::unsupported, "{}: expected a ControlNet {} a middle block, as the model", where,
         unet.mid_block ? "with" : "without");
  if (own.class_embed_type != models::ClassEmbedding::none && own.class_embed_type != unet.class_embed_type)
    fail(ErrorCode::unsupported, "{}: expected a ControlNet without classes, as the model", where);
  if (own.in_channels != model.vae.latent_channels)
    fail(ErrorCode::unsupported, "{}: expected a ControlNet of {} latent channels, found {}", where,
         model.vae.latent_channels, own.in_channels);
  if (control_net.picture_factor() != model.vae.downscale())
    fail(ErrorCode::unsupported,
         "{}: expected a ControlNet whose pictures have {} times the sides of latents, found {}", where,
         model.vae.downscale(), control_net.picture_factor());
  if (control_net.conditioning_channels != 3 && control_net.conditioning_channels != 1)
    fail(ErrorCode::unsupported, "{}: expected a ControlNet that takes RGB or gray pictures, found {} channels", where,
         control_net.conditioning_channels);
}

size_t expect_fit(const T2IAdapterConfig& adapter, const ModelFiles& model, const std::string& where) {
  // What the UNet adds features to: see UNetEncoder::after_level().
  std::vector<T2IAdapterConfig::Feature> places;
  const std::vector<models::UNetLevel>& levels = model.unet.levels;
  int64_t scale = model.vae.downscale();
  for (size_t i = 0; i < levels.size(); ++i) {
    const bool shrinks = i + 1 < levels.size(), plain = levels[i].attention_down.empty();
    places.push_back({levels[i].channels, plain && shrinks ? 2 * scale : scale});
    if (shrinks) scale *= 2;
  }
  if (model.unet.mid_block) places.push_back({levels.back().channels, scale});
  const std::vector<T2IAdapterConfig::Feature> features = adapter.features();
  const auto describe = [](const std::vector<T2IAdapterConfig::Feature>& list, size_t count) {
    std::string out;
    for (size_t i = 0; i < std::min(count, list.size()); ++i)
      out += fmt::format("{}{} channels at 1/{}", i == 0 ? "" : ", ", list[i].channels, list[i].scale);
    return out;
  };
  size_t taken = 0;
  const auto fits = [&](size_t i) {
    return features[i].channels == places[i].channels && features[i].scale == places[i].scale;
  };
  while (taken < std::min(features.size(), places.size()) && fits(taken)) ++taken;
  if (taken < std::min(features.size(), levels.size()))
    fail(ErrorCode::unsupported, "{}: expected a T2I-Adapter for the model's {} (features of {}), found one with {}",
         where, to_string(model.family), describe(places, levels.size()), describe(features, features.size()));
  if (adapter.in_channels != 3 && adapter.in_channels != 1)
    fail(ErrorCode::unsupported, "{}: expected a T2I-Adapter that takes RGB or gray pictures, found {} channels", where,
         adapter.in_channels);
  return taken;
}

NameCandidates original_adapter_names(const T2IAdapterConfig& config) {
  const bool light = config.kind == T2IAdapterConfig::Kind::light;
  return [light, blocks = config.num_res_blocks](const std::string& name) -> std::vector<StoredName> {
    const std::string start = "adapter.body.";
    if (!name.starts_with(start)) return {name.substr(std::string("adapter.").size())};  // conv_in
    const std::string rest = name.substr(start.size());
    const size_t dot = rest.find('.');
    const int level = std::stoi(rest.substr(0, dot));
    const std::string resnets = "resnets.", inside = rest.substr(dot + 1);
    if (!inside.starts_with(resnets)) return {fmt::format("body.{}.{}", light ? level : level * blocks, inside)};
    const std::string tail = inside.substr(resnets.size());
    const size_t next = tail.find('.');
    if (light) return {fmt::format("body.{}.body.{}", level, tail)};
    return {fmt::format("body.{}{}", level * blocks + std::stoi(tail.substr(0, next)), tail.substr(next))};
  };
}

NameCandidates ldm_control_net_names(const ControlNetConfig& config, const std::string& prefix) {
  const size_t last = 2 * config.conditioning_embedding_out_channels.size() - 1;
  return [encoder = ldm_unet_names(config.encoder, prefix), prefix, last](const std::string& name) {
    const auto after = [&](const std::string& start) { return name.substr(start.size()); };
    const auto at = [&](const std::string& start) { return name.starts_with(start); };
    const std::string embedding = kEmbedding, down = "controlnet_down_blocks.", mid = "controlnet_mid_block.";
    std::string own;
    if (at(embedding + "conv_in.")) own = hint_block(0) + after(embedding + "conv_in.");
    if (at(embedding + "conv_out.")) own = hint_block(last) + after(embedding + "conv_out.");
    if (at(embedding + "blocks.")) {
      const std::string rest = after(embedding + "blocks.");
      const size_t dot = rest.find('.');
      own = hint_block(std::stoul(rest.substr(0, dot)) + 1) + rest.substr(dot + 1);
    }
    if (at(down)) {
      const std::string rest = after(down);
      const size_t dot = rest.find('.');
      own = "zero_convs." + rest.substr(0, dot) + ".0" + rest.substr(dot);
    }
    if (at(mid)) own = "middle_block_out.0." + after(mid);
    return own.empty() ? encoder(name) : std::vector<StoredName>{prefix + own};
  };
}

}  // namespace easel::pipelines
