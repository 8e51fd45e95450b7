// easel make-random: a model of any configuration with random weights, for tests of size and speed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/fail.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/output_files.h"
#include "io/atomic_file.h"
#include "io/json_file.h"
#include "io/safetensors.h"
#include "models/clip_vision.h"
#include "models/ip_adapter.h"
#include "pipelines/configs.h"
#include "pipelines/control_files.h"
#include "pipelines/model_files.h"
#include "pipelines/model_folder.h"
#include "pipelines/model_tensors.h"
#include "pipelines/upscaler_files.h"

namespace easel::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp =
    R"(Usage: easel make-random CONFIG_DIR OUT_DIR [options]
       easel make-random --upscaler NAME OUT_FILE [options]
       easel make-random --ip-adapter KIND CONFIG_DIR OUT_FILE [options]
Writes a model with random weights into the new folder OUT_DIR. Of the diffusers folder
CONFIG_DIR, configurations, scheduler and tokenizers are used; weights need not be there.
CONFIG_DIR may also hold the config.json of an image encoder (CLIPVisionModelWithProjection) or
of a ControlNet (ControlNetModel) alone.

  --seed N          the same seed gives the same weights in both layouts (0)
  --dtype TYPE      fp32, fp16 or bf16 (fp32)
  --single-file     the original one-file layout, OUT_DIR/model.safetensors, with the tokenizer
  --upscaler NAME   the safetensors file of an upscaling network instead, at its published size:
                    x4plus, x2plus, x4plus-anime-6b, general-x4v3 or animevideo
  --ip-adapter KIND the safetensors file of an IP-Adapter for the model instead, at its published
                    size: plain or plus, for the image encoder ViT-H
  --in-channels N   of the UNet: 9 makes an inpainting model of it, 8 an instruct-pix2pix one
)";

using Shapes = std::map<std::string, Shape>;

struct Component {
  std::string folder, file;
  Shapes weights;
  pipelines::NameCandidates single_file_names;
};

/// The values of one weight; they depend on its name and the seed alone.
class Values {
 public:
  Values(const std::string& name, const Shape& shape, uint64_t seed) : state_(seed) {
    for (const char c : name) state_ = (state_ ^ static_cast<unsigned char>(c)) * 1099511628211u;
    if (name.ends_with(".bias")) return;  // 0
    if (shape.rank() == 1 && name.starts_with("body.")) {
      mean_ = 0.25f;  // of a PReLU
    } else if (shape.rank() == 1) {
      mean_ = 1;  // of a norm
    } else if (name.ends_with("embedding.weight")) {
      deviation_ = 0.02;
    } else {
      // Keeps the size of what a layer is given.
      deviation_ =
          1 / std::sqrt(static_cast<double>(shape.numel()) / static_cast<double>(std::max<int64_t>(shape[0], 1)));
    }
  }
  float next() {
    if (deviation_ == 0) return mean_;
    // splitmix64; the sum of four uniform 16-bit numbers is near enough to a normal one.
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    const auto sum = static_cast<double>((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48));
    return static_cast<float>((sum / 65535.0 - 2.0) * std::sqrt(3.0) * deviation_);
  }

 private:
  uint64_t state_;
  float mean_ = 0;
  double deviation_ = 0;
};

void write_values(io::SafetensorsWriter& writer, Values values, int64_t count, DType dtype) {
  constexpr int64_t kBlock = 1 << 18;  // the file is larger than memory may be
  const Tensor block = Tensor::empty(DType::f32, {kBlock});
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t size = std::min(kBlock, count - begin);
    const Tensor part = block.rows(0, size);
    for (float& value : part.span<float>()) value = values.next();
    const Tensor stored = part.to(dtype);
    writer.write_bytes(std::span(stored.raw(), static_cast<size_t>(stored.bytes())));
  }
}

/// A tensor of a file, made of one weight or of several.
struct Named {
  struct Part {
    std::string name;  // one name, one value, in both layouts
    Shape shape;
  };
  std::string stored;
  Shape stored_shape;
  std::vector<Part> parts;
  bool transposed = false;
};

// Matrices of projections, a few megabytes.
void write_transposed(io::SafetensorsWriter& writer, Values values, const Shape& shape, DType dtype) {
  const Tensor out = Tensor::empty(DType::f32, {shape[1], shape[0]});
  for (int64_t i = 0; i < shape[0]; ++i)
    for (int64_t k = 0; k < shape[1]; ++k) out.data<float>()[k * shape[0] + i] = values.next();
  const Tensor stored = out.to(dtype);
  writer.write_bytes(std::span(stored.raw(), static_cast<size_t>(stored.bytes())));
}

void write_weights(const std::string& path, const std::vector<Named>& weights, DType dtype, uint64_t seed) {
  std::vector<io::SafetensorsWriter::Declaration> declarations;
  for (const Named& weight : weights) declarations.push_back({weight.stored, dtype, weight.stored_shape});
  io::SafetensorsWriter writer(path, declarations, {{"format", "pt"}});
  for (const Named& weight : weights)
    for (const Named::Part& part : weight.parts) {
      const Values values(part.name, part.shape, seed);
      if (weight.transposed)
        write_transposed(writer, values, part.shape, dtype);
      else
        write_values(writer, values, part.shape.numel(), dtype);
    }
  writer.finish();
}

DType parse_dtype(const std::string& name) {
  if (name == "fp32") return DType::f32;
  if (name == "fp16") return DType::f16;
  if (name == "bf16") return DType::bf16;
  fail(ErrorCode::invalid_argument, "--dtype: expected fp32, fp16 or bf16, found \"{}\"", printable(name, 40));
}

constexpr const char* kControlNet = "ControlNetModel";
constexpr const char* kImageEncoder = "CLIPVisionModelWithProjection";

// Of a network by itself, the class that its config.json names; "" for a whole model.
std::string class_alone(const fs::path& folder) {
  std::error_code error;
  if (fs::exists(folder / "model_index.json", error) || !fs::exists(folder / "config.json", error)) return "";
  const nlohmann::json json = io::JsonObject::from_file((folder / "config.json").string()).json();
  for (const char* name : {kControlNet, kImageEncoder})
    if (json.value("_class_name", nlohmann::json()) == name ||
        json.value("architectures", nlohmann::json()) == nlohmann::json{name})
      return name;
  fail(ErrorCode::unsupported, "CONFIG_DIR {}: expected a whole model, or config.json of {} or {}, found another class",
       printable(folder.string(), 400), kControlNet, kImageEncoder);
}

std::vector<Component> read_components(const fs::path& from, std::optional<int64_t> in_channels) {
  if (class_alone(from) == kControlNet) {
    if (in_channels)
      fail(ErrorCode::invalid_argument, "--in-channels: expected with a whole model, found a ControlNet");
    const models::ControlNetConfig config =
        pipelines::control_net_config(io::JsonObject::from_file((from / "config.json").string()));
    return {{"", "diffusion_pytorch_model.safetensors", pipelines::weights_of({models::control_net(config)}),
             pipelines::ldm_control_net_names(config, "control_model.")}};
  }
  pipelines::ModelFiles model = pipelines::read_diffusers_folder(from.string(), {}, /*weights_required=*/false);
  if (in_channels) {
    model.unet.in_channels = *in_channels;
    pipelines::fit_parts(model, /*unet_configured=*/true);
  }
  std::vector<Component> out = {{"unet", "diffusion_pytorch_model.safetensors", pipelines::unet_weights(model.unet),
                                 pipelines::ldm_unet_names(model.unet)},
                                {"vae", "diffusion_pytorch_model.safetensors", pipelines::vae_weights(model.vae),
                                 pipelines::ldm_vae_names(model.vae)}};
  for (const pipelines::TextEncoderFiles& encoder : model.text_encoders)
    out.push_back({encoder.name, "model.safetensors", pipelines::text_encoder_weights(encoder.config),
                   pipelines::ldm_text_names(model.family, encoder.name)});
  return out;
}

// The UNet's configuration again, with other input channels.
void set_in_channels(const fs::path& folder, int64_t channels) {
  const fs::path path = folder / "config.json";
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(io::JsonObject::from_file(path.string()).json().dump());
  json["in_channels"] = channels;
  fs::remove(path);
  io::AtomicFile file(path.string());
  file.write(json.dump(2) + "\n");
  file.commit();
}

/// Real-ESRGAN's networks by the names of their files.
std::vector<graph::Graph> upscaler_graphs(const std::string& name) {
  const auto rrdb = [](const models::RRDBNetConfig& config) {
    return std::vector{models::rrdb_net_body(config), models::rrdb_net_tail(config)};
  };
  if (name == "x4plus") return rrdb({});
  if (name == "x2plus") return rrdb({.unshuffle = 2});
  if (name == "x4plus-anime-6b") return rrdb({.num_block = 6});
  if (name == "general-x4v3") return {models::srvgg_net({.num_conv = 32})};
  if (name == "animevideo") return {models::srvgg_net({})};
  fail(ErrorCode::invalid_argument,
       "--upscaler: expected x4plus, x2plus, x4plus-anime-6b, general-x4v3 or animevideo, found \"{}\"",
       printable(name, 40));
}

void write_upscaler(const std::string& name, const std::string& path, DType dtype, uint64_t seed) {
  std::vector<Named> weights;
  for (const auto& [weight, shape] : pipelines::weights_of(upscaler_graphs(name)))
    weights.push_back({weight, shape, {{weight, shape}}});
  std::error_code error;
  if (fs::exists(path, error))
    fail(ErrorCode::io, "OUT_FILE {}: expected a new file, found something there", printable(path, 400));
  write_weights(path, weights, dtype, seed);
  std::puts(path.c_str());
}

void write_image_encoder(const fs::path& from, const fs::path& to, DType dtype, uint64_t seed) {
  const models::ClipVisionConfig config =
      pipelines::clip_vision_config(io::JsonObject::from_file((from / "config.json").string()));
  std::vector<Named> weights;
  for (const auto& [name, shape] :
       pipelines::weights_of({models::clip_vision_model(config, models::ClipVisionOutput::image_embeds)}))
    weights.push_back({name, shape, {{"image_encoder." + name, shape}}});
  OutputFolder(to.string()).create();
  pipelines::copy_descriptions(from.string(), to.string());
  write_weights((to / "model.safetensors").string(), weights, dtype, seed);
  std::puts(to.string().c_str());
}

// Sizes as published for ViT-H; the resampler is as wide as the text of Stable Diffusion 1.5, else 1280.
void write_ip_adapter(const std::string& kind, const fs::path& from, const std::string& path, DType dtype,
                      uint64_t seed) {
  if (kind != "plain" && kind != "plus")
    fail(ErrorCode::invalid_argument, "--ip-adapter: expected plain or plus, found \"{}\"", printable(kind, 40));
  const models::UNet2DConditionConfig unet = pipelines::read_diffusers_folder(from.string(), {}, false).unet;
  models::IpAdapterConfig config;
  config.cross_attention_dim = unet.cross_attention_dim;
  if (kind == "plus") {
    config.kind = models::IpAdapterKind::plus;
    config.image_dim = 1280;
    config.tokens = 16;
    config.hidden_dim = unet.cross_attention_dim == 768 ? 768 : 1280;
    config.heads = static_cast<int>(config.hidden_dim / 64);
    config.feed_forward_dim = 4 * config.hidden_dim;
  }
  Shapes shapes = pipelines::weights_of({models::ip_adapter_tokens(config, 1)});
  const std::vector<models::CrossAttentionLayer> layers = models::cross_attention_layers(unet);
  for (size_t i = 0; i < layers.size(); ++i)
    for (const char* name : {"to_k_ip", "to_v_ip"})
      shapes[fmt::format("ip_adapter.{}.{}.weight", 2 * i + 1, name)] = {layers[i].channels, unet.cross_attention_dim};
  std::vector<Named> weights;
  for (const auto& [name, shape] : shapes) weights.push_back({name, shape, {{name, shape}}});
  std::error_code error;
  if (fs::exists(path, error))
    fail(ErrorCode::io, "OUT_FILE {}: expected a new file, found something there", printable(path, 400));
  write_weights(path, weights, dtype, seed);
  std::puts(path.c_str());
}

}  // namespace

int make_random(std::span<const std::string> args) {
  std::optional<std::string> config_dir, out_dir, dtype_name, upscaler, ip_adapter;
  std::optional<uint64_t> seed;
  std::optional<int64_t> in_channels;
  bool single_file = false;
  Arguments arguments("make-random", kHelp);
  arguments.positional("CONFIG_DIR", config_dir);
  arguments.positional("OUT_DIR", out_dir);
  arguments.seed("--seed", seed);
  arguments.text("--dtype", dtype_name);
  arguments.flag("--single-file", single_file);
  arguments.text("--upscaler", upscaler);
  arguments.text("--ip-adapter", ip_adapter);
  arguments.whole("--in-channels", in_channels, 1, 4096);
  if (!arguments.parse(args)) return 0;
  if (upscaler) {
    if (!config_dir || out_dir || single_file)
      fail(ErrorCode::invalid_argument, "--upscaler: expected OUT_FILE alone (see easel make-random --help)");
    write_upscaler(*upscaler, *config_dir, parse_dtype(dtype_name.value_or("fp32")), seed.value_or(0));
    return 0;
  }
  if (!config_dir || !out_dir)
    fail(ErrorCode::invalid_argument, "expected CONFIG_DIR and OUT_DIR (see easel make-random --help)");
  const DType dtype = parse_dtype(dtype_name.value_or("fp32"));
  const fs::path from = *config_dir, to = *out_dir;
  std::error_code error;
  if (!fs::is_directory(from, error))
    fail(ErrorCode::io, "CONFIG_DIR {}: expected a diffusers folder, found none", printable(*config_dir, 400));
  if (ip_adapter) {
    write_ip_adapter(*ip_adapter, from, to.string(), dtype, seed.value_or(0));
    return 0;
  }
  if (fs::exists(to, error) && !(fs::is_directory(to, error) && fs::is_empty(to, error)))
    fail(ErrorCode::io, "OUT_DIR {}: expected a new or empty folder, found something there", printable(*out_dir, 400));
  if (class_alone(from) == kImageEncoder) {
    write_image_encoder(from, to, dtype, seed.value_or(0));
    return 0;
  }
  const std::vector<Component> components = read_components(from, in_channels);
  OutputFolder(to.string()).create();

  for (const char* tokenizer : {"tokenizer", "tokenizer_2"})
    if (fs::is_directory(from / tokenizer, error))
      pipelines::copy_descriptions((from / tokenizer).string(), (to / tokenizer).string());
  std::vector<Named> all;
  for (const Component& component : components) {
    std::vector<Named> weights;
    const auto names = single_file ? component.single_file_names : pipelines::prefixed_names("");
    for (const pipelines::TensorLayout& layout : pipelines::layouts_of(component.weights, names)) {
      Named named{layout.name, layout.shape, {}, layout.transposed};
      for (const std::string& name : layout.weights)
        named.parts.push_back({component.folder + "." + name, component.weights.at(name)});
      (single_file ? all : weights).push_back(std::move(named));
    }
    if (single_file) continue;
    pipelines::copy_descriptions((from / component.folder).string(), (to / component.folder).string());
    if (in_channels && component.folder == "unet") set_in_channels(to / "unet", *in_channels);
    write_weights((to / component.folder / component.file).string(), weights, dtype, seed.value_or(0));
  }
  if (single_file) {
    const std::string path = (to / "model.safetensors").string();
    write_weights(path, all, dtype, seed.value_or(0));
    std::puts(path.c_str());
    return 0;
  }
  if (fs::is_directory(from / "scheduler", error))
    pipelines::copy_descriptions((from / "scheduler").string(), (to / "scheduler").string());
  if (!components.front().folder.empty()) pipelines::copy_descriptions(from.string(), to.string());
  std::puts(to.string().c_str());
  return 0;
}

}  // namespace easel::cli
