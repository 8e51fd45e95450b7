#include "pipelines/image_prompts.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/fail.h"
#include "pipelines/adapters.h"
#include "pipelines/clip_image.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

using models::ClipVisionOutput;
using models::IpAdapterKind;

namespace {

constexpr const char* kStates = "penultimate_states";   // the encoder's variant
constexpr size_t kMostKnown = 32;                       // pictures, of less than a megabyte each
constexpr size_t kMostEncoders = 2, kMostAdapters = 8;  // open at a time; requests hold what they use
constexpr double kMostScale = 1000;

// Whatever a reader says begins with the option.
template <typename Read>
auto naming_option(const char* option, Read&& read) {
  try {
    return read();
  } catch (const Error& error) {
    const std::string what = error.what();
    throw Error(error.code(), what.starts_with("--") ? what : std::string(option) + " " + what);
  }
}

bool reads_states(const IpAdapterFile& file) { return file.config().kind != IpAdapterKind::plain; }

// The published encoder that has such features; "" for none.
const char* published(bool states, int64_t width) {
  if (width == (states ? 1280 : 1024)) return ", as OpenCLIP ViT-H has";
  if (width == (states ? 1664 : 1280)) return ", as OpenCLIP ViT-bigG has";
  return "";
}

// "up.block_0.1" → "up_blocks.0.attentions.1"; names of layers stay.
std::string layer_prefix(const std::string& name) {
  std::vector<std::string> parts(1);
  for (const char c : name) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  const std::string first = parts[0];
  if (first == "mid") parts[0] = "mid_block";
  if (first != "down" && first != "up") return fmt::format("{}", fmt::join(parts, "."));
  parts[0] += "_blocks";
  if (parts.size() > 1 && parts[1].starts_with("block_")) parts[1] = parts[1].substr(6);
  if (parts.size() > 2) parts[2].insert(0, "attentions.");
  return fmt::format("{}", fmt::join(parts, "."));
}

}  // namespace

ImagePrompts::ImagePrompts(const ModelFiles& files, const LoadOptions& options, device::ContextPtr context,
                           DType precision, std::shared_ptr<exec::Arena> arena,
                           std::function<void(Component&)> before_use)
    : files_(files),
      keep_(options.keep_text_encoder),
      keep_blocks_(!options.expand_weights),
      context_(std::move(context)),
      precision_(precision),
      arena_(std::move(arena)),
      before_use_(std::move(before_use)),
      layers_(models::cross_attention_layers(files.unet)) {}

// ---- what a request asks for ---------------------------------------------------------------------------------------

std::string ImagePrompts::encoder_path(const IpAdapter& adapter) const {
  if (!adapter.image_encoder.empty()) return adapter.image_encoder;
  std::error_code error;
  for (const fs::path& parent : {fs::path(adapter.path).parent_path(), fs::path(files_.path)})
    if (const fs::path folder = parent / "image_encoder"; fs::is_directory(folder, error)) return folder.string();
  fail(ErrorCode::io,
       "--ip-adapter {}: expected a folder image_encoder beside it or in the model's, found none; name the image "
       "encoder with --image-encoder",
       printable(adapter.path, 400));
}

std::shared_ptr<ImageEncoder> ImagePrompts::encoder(const std::string& path, const std::string& where) {
  const std::string key =
      key_of_files(path, {"config.json", "model.safetensors", "pytorch_model.bin", "model.fp16.safetensors"});
  for (const auto& known : encoders_)
    if (known->key == key) return known;
  auto made = std::make_shared<ImageEncoder>();
  made->key = key;
  made->files = read_image_encoder(path, where);
  models::ClipVisionConfig& config = made->files.config;
  const auto graph = [&](ClipVisionOutput output) { return models::clip_vision_model(config, output); };
  if (!made->files.weights->stored("visual_projection.weight")) config.projection_dim = 0;
  made->component = std::make_unique<Component>(
      graph(config.projection_dim > 0 ? ClipVisionOutput::image_embeds : ClipVisionOutput::penultimate_states),
      made->files.weights, context_, precision_, arena_, keep_blocks_);
  made->component->add_variant(kStates, [&] { return graph(ClipVisionOutput::penultimate_states); });
  made->component->set_observer(observer_);
  if (encoders_.size() >= kMostEncoders) encoders_.pop_front();
  return encoders_.emplace_back(std::move(made));
}

std::shared_ptr<IpAdapterNetworks> ImagePrompts::adapter(const std::string& path) {
  const std::string key = key_of_files(path, {});
  for (const auto& known : adapters_)
    if (known->key == key) return known;
  auto made = std::make_shared<IpAdapterNetworks>();
  made->key = key;
  made->file = IpAdapterFile::open(path);
  if (adapters_.size() >= kMostAdapters) adapters_.pop_front();
  return adapters_.emplace_back(std::move(made));
}

std::vector<float> ImagePrompts::scales_of(const IpAdapter& adapter) const {
  const std::string where = "--ip-adapter " + printable(adapter.path, 400);
  const auto check = [&](const std::string& what, double value) {
    if (!(std::fabs(value) <= kMostScale))
      fail(ErrorCode::invalid_argument, "{}: {}: expected a number from {} to {}, found {}", where, what, -kMostScale,
           kMostScale, value);
  };
  check("scale", adapter.scale);
  std::vector<float> out(layers_.size(), static_cast<float>(adapter.block_scales.empty() ? adapter.scale : 0));
  std::vector<size_t> exact(layers_.size(), 0);  // length of the name that a layer was given its scale by
  for (const auto& [name, factor] : adapter.block_scales) {
    check("scale of " + printable(name, 60), factor);
    const std::string prefix = layer_prefix(name);
    bool any = false;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (!layers_[i].name.starts_with(prefix + ".")) continue;
      any = true;
      if (prefix.size() < exact[i]) continue;
      exact[i] = prefix.size();
      out[i] = static_cast<float>(adapter.scale * factor);
    }
    if (any) continue;
    std::vector<std::string> known;
    for (const models::CrossAttentionLayer& layer : layers_) {
      const std::string attention = layer.name.substr(0, layer.name.find(".transformer_blocks"));
      if (known.empty() || known.back() != attention) known.push_back(attention);
    }
    fail(ErrorCode::invalid_argument,
         "{}: expected parts of the UNet with attention to the text, found \"{}\"; it has {}", where,
         printable(name, 60), fmt::join(known, ", "));
  }
  return out;
}

std::vector<ImagePrompt> ImagePrompts::resolve(const std::vector<IpAdapter>& adapters) {
  const std::lock_guard lock(mutex_);
  std::vector<ImagePrompt> out;
  for (const IpAdapter& given : adapters) {
    const std::string where = "--ip-adapter " + printable(given.path, 400);
    ImagePrompt prompt;
    prompt.adapter = naming_option("--ip-adapter", [&] {
      std::error_code error;
      if (!fs::is_regular_file(given.path, error))
        fail(ErrorCode::io, "{}: expected a file, found {}", printable(given.path, 400),
             fs::exists(given.path, error) ? "a folder" : "nothing");
      auto found = adapter(given.path);
      found->file->check(files_.unet, to_string(files_.family));
      return found;
    });
    const IpAdapterFile& file = *prompt.adapter->file;
    prompt.scales = scales_of(given);
    if (!(given.start >= 0 && given.start <= given.end && given.end <= 1))
      fail(ErrorCode::invalid_argument, "{}: expected a start and an end from 0 to 1, found {} and {}", where,
           given.start, given.end);
    if (given.images.empty())
      fail(ErrorCode::invalid_argument, "{}: expected a picture (--ip-adapter-image), found none", where);
    const std::string path = encoder_path(given);
    const std::string encoder_where = "--image-encoder " + printable(path, 400);
    prompt.encoder = naming_option("--image-encoder", [&] { return encoder(path, encoder_where); });
    const models::ClipVisionConfig& vision = prompt.encoder->files.config;
    const models::IpAdapterConfig& config = file.config();
    const bool states = reads_states(file);
    const int64_t found = states ? vision.hidden_size : vision.projection_dim;
    if (found != config.image_dim)
      fail(ErrorCode::shape_mismatch,
           "{}: expected an image encoder whose {} is {}{} for {} ({}), found {}; another can be named with "
           "--image-encoder",
           encoder_where, states ? "hidden_size" : "projection_dim", config.image_dim,
           published(states, config.image_dim), printable(given.path, 400), file.kind(), found);
    prompt.images = given.images;
    prompt.tokens = static_cast<int64_t>(given.images.size()) * (config.tokens > 0 ? config.tokens : vision.tokens());
    prompt.start = given.start;
    prompt.end = given.end;
    if (std::ranges::any_of(prompt.scales, [](float scale) { return scale != 0; })) out.push_back(std::move(prompt));
  }
  return out;
}

// ---- encoding ------------------------------------------------------------------------------------------------------

Component& ImagePrompts::projection(const ImagePrompt& prompt) {
  const IpAdapterFile& file = *prompt.adapter->file;
  const int64_t states = reads_states(file) ? prompt.encoder->files.config.tokens() : 1;
  std::unique_ptr<Component>& component = prompt.adapter->projections[states];
  if (!component) {
    component = std::make_unique<Component>(models::ip_adapter_tokens(file.config(), states), file.weights(), context_,
                                            precision_, arena_, keep_blocks_);
    component->set_observer(observer_);
  }
  return *component;
}

Tensor ImagePrompts::features(const ImagePrompt& prompt, const Tensor& pixels) {
  Component& network = *prompt.encoder->component;
  const bool states = reads_states(*prompt.adapter->file);
  before_use_(network);
  const auto session = network.session({}, {}, 0, states ? kStates : "");
  session->set("pixel_values", pixels);
  session->run();
  return session->tensor(states ? "penultimate_states" : "image_embeds").clone();
}

Tensor ImagePrompts::tokens(const ImagePrompt& prompt, const Tensor& features) {
  Component& network = projection(prompt);
  before_use_(network);
  const auto session = network.session({});
  session->set("features", features);
  session->run();
  return session->tensor("tokens").clone();
}

/// A picture of an adapter, or, for the negative prompt, none.
struct ImagePrompts::Wanted {
  ImagePrompt* prompt;
  Tensor pixels;  // of none, zeros
  bool none = false;
  size_t begin = 0, end = 1;  // its places among the adapter's pictures
  Tensor features = {}, tokens = {};
  // Adapters that read projected features were trained with zeros for none, others with a picture of zeros.
  bool zero_features() const { return none && !reads_states(*prompt->adapter->file); }
  std::string networks() const { return fmt::format("{}\n{}\n{}", prompt->adapter->key, prompt->encoder->key, none); }
};

std::vector<ImagePrompts::Wanted> ImagePrompts::wanted(std::vector<ImagePrompt>& prompts, bool negative) {
  std::vector<Wanted> out;
  for (ImagePrompt& prompt : prompts) {
    const int64_t size = prompt.encoder->files.config.image_size;
    if (negative)
      out.push_back({&prompt, Tensor::zeros(DType::f32, {1, 3, size, size}), true, 0, prompt.images.size()});
    for (size_t i = 0; i < prompt.images.size(); ++i) {
      RgbPicture picture = prompt.images[i].read();
      if (static_cast<int64_t>(picture.rgb.size()) != picture.width * picture.height * 3)
        fail(ErrorCode::invalid_argument, "--ip-adapter-image: expected {}×{} pixels of 3 bytes, found {} bytes",
             picture.width, picture.height, picture.rgb.size());
      const io::Image image{picture.width, picture.height, 3, std::move(picture.rgb)};
      out.push_back({&prompt, clip_pixel_values(image, size), false, i, i + 1});
    }
  }
  return out;
}

const Tensor* ImagePrompts::find(const Wanted& wanted) const {
  for (const Known& known : known_)
    if (known.networks == wanted.networks() && known.pixels.shape() == wanted.pixels.shape() &&
        std::memcmp(known.pixels.raw(), wanted.pixels.raw(), static_cast<size_t>(wanted.pixels.bytes())) == 0)
      return &known.tokens;
  return nullptr;
}

void ImagePrompts::encode(std::vector<ImagePrompt>& prompts, bool negative) {
  const std::lock_guard lock(mutex_);
  if (prompts.empty()) return;
  for (ImagePrompt& prompt : prompts) {
    const Shape shape = {1, prompt.tokens, prompt.adapter->file->config().cross_attention_dim};
    prompt.states = Tensor::empty(DType::f32, shape);
    if (negative) prompt.negative_states = Tensor::empty(DType::f32, shape);
  }
  std::vector<Wanted> all = wanted(prompts, negative);
  for (Wanted& one : all)
    if (const Tensor* known = find(one)) one.tokens = *known;
  // Each encoder reads all of its pictures before anything else runs: where networks run one at a time, it is packed
  // once.
  std::vector<const ImageEncoder*> encoders;
  for (const ImagePrompt& prompt : prompts)
    if (!std::ranges::count(encoders, prompt.encoder.get())) encoders.push_back(prompt.encoder.get());
  for (const ImageEncoder* encoder : encoders)
    for (Wanted& one : all)
      if (one.prompt->encoder.get() == encoder && !one.zero_features() && !one.tokens.defined())
        one.features = features(*one.prompt, one.pixels);
  for (Wanted& one : all) {
    if (!one.tokens.defined()) {
      if (one.zero_features())
        one.features = Tensor::zeros(DType::f32, {1, one.prompt->adapter->file->config().image_dim});
      one.tokens = tokens(*one.prompt, one.features);
      if (known_.size() >= kMostKnown) known_.pop_front();
      known_.push_back({one.networks(), one.pixels, one.tokens});
    }
    const Tensor& to = one.none ? one.prompt->negative_states : one.prompt->states;
    for (size_t place = one.begin; place < one.end; ++place)
      std::ranges::copy(one.tokens.span<float>(), to.data<float>() + place * static_cast<size_t>(one.tokens.numel()));
  }
  if (keep_) return;
  for (const Network& network : networks(prompts)) network.component->drop();
}

// ---- the UNet's part -----------------------------------------------------------------------------------------------

std::string ImagePrompts::key(const std::vector<ImagePrompt>& prompts) {
  std::string out;
  for (const ImagePrompt& prompt : prompts) out += prompt.adapter->key + "\n";
  return out;
}

void ImagePrompts::add_to(exec::Replacements& replacements, const std::vector<ImagePrompt>& prompts) const {
  for (size_t i = 0; i < prompts.size(); ++i)
    prompts[i].adapter->file->add_to(replacements, i, layers_, prompts[i].adapter->key);
}

std::vector<ImagePrompts::Network> ImagePrompts::networks(const std::vector<ImagePrompt>& prompts) {
  const std::lock_guard lock(mutex_);
  std::vector<Network> out;
  const auto add = [&](const Network& network) {
    const auto same = [&](const Network& other) {
      return other.component == network.component && other.variant == network.variant;
    };
    if (std::ranges::none_of(out, same)) out.push_back(network);
  };
  for (const ImagePrompt& prompt : prompts) {
    const IpAdapterFile& file = *prompt.adapter->file;
    add({prompt.encoder->component.get(), reads_states(file) ? kStates : "", prompt.encoder->files.weights.get(),
         "image_encoder"});
    add({&projection(prompt), "", file.weights().get(), "image_proj"});
  }
  return out;
}

std::vector<Component*> ImagePrompts::components() {
  const std::lock_guard lock(mutex_);
  std::vector<Component*> out;
  for (const auto& encoder : encoders_) out.push_back(encoder->component.get());
  for (const auto& adapter : adapters_)
    for (auto& [states, component] : adapter->projections) out.push_back(component.get());
  return out;
}

double ImagePrompts::compile_seconds() {
  double sum = 0;
  for (const Component* component : components()) sum += component->compile_seconds();
  return sum;
}

void ImagePrompts::set_observer(const exec::Session::Observer& observer) {
  const std::lock_guard lock(mutex_);
  observer_ = observer;
  for (Component* component : components()) component->set_observer(observer);
}

}  // namespace easel::pipelines
