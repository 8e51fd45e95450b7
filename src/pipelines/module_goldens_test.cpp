// Single modules against diffusers and transformers: what a picture hides (a wrong eps, a swapped half) shows here.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "exec/session.h"
#include "io/json_file.h"
#include "models/resnet_block.h"
#include "models/transformer_2d.h"
#include "pipelines/configs.h"
#include "pipelines/model_files.h"
#include "tensor/test_tensors.h"

namespace easel::pipelines {
namespace {

using graph::Graph;
using graph::Rate;
using nlohmann::json;
using nn::Scope;
using nn::Var;

const std::string kFolder = EASEL_SOURCE_DIR "/tests/goldens/sd15/";

/// One golden: its graph is built here from the same pieces as the models.
class Golden {
 public:
  explicit Golden(const json& entry)
      : entry_(entry),
        config_(entry["config"]),
        file_(io::WeightFiles::open(kFolder + entry["file"].get<std::string>())) {}

  void check() {
    build();
    const auto context = std::make_shared<device::Context>(1);
    exec::WeightStore store(weights_, context);
    exec::CompileOptions options;
    options.bindings = bindings_;
    exec::Session session(exec::compile(graph_, store, context, options));
    for (const auto& [name, values] : inputs_) session.set(name, values);
    session.run();
    for (const auto& [slot, name] : outputs_) {
      const Tensor expected = file_.tensor("out." + name).clone();
      Tensor found = channels_restored(session.tensor(slot), expected.shape());
      if (expected.dim(0) < found.dim(0)) found = every_other_row(found);  // the text encoders keep rows 0 and 2
      EXPECT_LT(relative_l2(found, expected), bound(name)) << name;
    }
  }

 private:
  // Sinusoids have no weights to jitter: there an angle of up to 999 moves by an ulp where exp() differs by one.
  double bound(const std::string& output) const {
    return entry_["kind"] == "get_timestep_embedding" ? 5e-6 : std::max(10 * jitter(output), 1e-6);
  }
  double jitter(const std::string& output) const {
    const json& jitter = entry_["jitter"];
    return jitter.is_number() ? jitter.get<double>() : jitter.value(output, 0.0);
  }
  bool has_input(const char* name) const { return file_.find(std::string("in.") + name) != nullptr; }
  Tensor in(const char* name) const { return file_.tensor(std::string("in.") + name).clone(); }

  // [B, C, H, W] → [B, H, W, C] on the way in, and back on the way out.
  static Tensor moved(const Tensor& x, bool to_last) {
    const Shape s = x.shape();
    const int64_t b = s[0], c = to_last ? s[1] : s[3], h = to_last ? s[2] : s[1], w = to_last ? s[3] : s[2];
    Tensor out = Tensor::empty(DType::f32, to_last ? Shape{b, h, w, c} : Shape{b, c, h, w});
    for (int64_t i = 0; i < b; ++i)
      for (int64_t k = 0; k < c; ++k)
        for (int64_t p = 0; p < h * w; ++p) {
          const int64_t first = (i * c + k) * h * w + p, last = (i * h * w + p) * c + k;
          out.data<float>()[to_last ? last : first] = x.data<float>()[to_last ? first : last];
        }
    return out;
  }
  static Tensor channels_restored(const Tensor& x, const Shape& expected) {
    return x.rank() == 4 && !(x.shape() == expected) ? moved(x, false) : x.clone();
  }

  static Tensor every_other_row(const Tensor& x) {
    Shape shape = x.shape();
    shape[0] = (shape[0] + 1) / 2;
    const Tensor out = Tensor::empty(DType::f32, shape);
    for (int64_t i = 0; i < shape[0]; ++i)
      std::copy_n(x.rows(2 * i, 2 * i + 1).data<float>(), x.numel() / x.dim(0), out.rows(i, i + 1).data<float>());
    return out;
  }

  Var input(const char* name, Tensor values) {
    if (values.rank() == 4) values = moved(values, true);
    inputs_.push_back({name, values});
    return {graph_, graph_.input(name, {values.dtype(), symbolic(values.shape())}, Rate::step)};
  }
  Var input(const char* name) { return input(name, in(name)); }
  void output(const std::string& name, const Var& value) {
    graph_.output("out_" + name, value.id());
    outputs_.push_back({"out_" + name, name});
  }
  int integer(const char* key) const { return config_[key].get<int>(); }

  // Weights and the prefix of this module's names.
  Scope scope() {
    const json& source = entry_["source"];
    if (source.is_string()) {
      weights_ = std::make_shared<FileWeights>(
          file_, [](const std::string& name) { return std::vector<StoredName>{"weight." + name}; });
      return Scope(graph_);
    }
    read_model_of(source);
    return Scope(graph_, source.value("module", ""));
  }
  void read_model_of(const json& source) {
    if (source.contains("folder")) {
      const std::filesystem::path folder = kFolder + source["folder"].get<std::string>();
      unet_ = unet_2d_condition_config(io::JsonObject::from_file(folder / "config.json"));
      weights_ = std::make_shared<FileWeights>(io::WeightFiles::open(folder / "diffusion_pytorch_model.safetensors"),
                                               [](const std::string& name) { return std::vector<StoredName>{name}; });
      return;
    }
    const ModelFiles files = read_diffusers_folder(kFolder + source["model"].get<std::string>());
    unet_ = files.unet;
    vae_ = files.vae;
    text_ = files.text_encoders.front().config;
    const std::string component = source["component"];
    weights_ = component == "unet"  ? files.unet_weights
               : component == "vae" ? files.vae_weights
                                    : files.text_encoders.front().weights;
  }

  void build() {
    const std::string kind = entry_["kind"];
    const Scope s = scope();
    if (kind == "CLIPTextModel") {
      whole(models::clip_text_model(text_, 77), {{"input_ids", "input_ids"}}, "last_hidden_state", "last_hidden_state");
    } else if (kind == "UNet2DConditionModel") {
      whole(models::unet_2d_condition(unet_), {}, "noise_pred", "sample");
    } else if (kind == "AutoencoderKL.decode") {
      whole(models::autoencoder_kl_decoder(vae_), {{"latents", "latents"}}, "decoded", "picture");
    } else if (kind == "AutoencoderKL.encode") {
      build_encoder();
    } else if (kind == "get_timestep_embedding") {
      ops::TimestepEmbeddingAttrs attrs;
      attrs.dim = integer("embedding_dim");
      attrs.flip_sin_to_cos = config_["flip_sin_to_cos"];
      attrs.downscale_freq_shift = config_["downscale_freq_shift"];
      attrs.scale = config_["scale"];
      output("embedding", timestep_embedding(input("timesteps"), attrs));
    } else if (kind == "TimestepEmbedding") {
      build_time_embedding(s);
    } else if (kind == "ResnetBlock2D") {
      build_resnet(s);
    } else if (kind == "Transformer2DModel") {
      models::Transformer2DConfig config;
      config.heads = integer("num_attention_heads");
      config.layers = integer("num_layers");
      config.groups = integer("norm_num_groups");
      config.use_linear_projection = config_["use_linear_projection"];
      output("hidden_states", transformer_2d(s, input("hidden_states"), input("encoder_hidden_states"), config));
    } else if (kind == "Attention") {
      build_attention(s);
    } else if (kind == "Downsample2D") {
      const nn::Padding padding = integer("padding") ? nn::Padding::same(1) : nn::Padding{.bottom = 1, .right = 1};
      output("hidden_states", conv2d(s / "conv", input("hidden_states"), integer("channels"), 3, 2, padding));
    } else if (kind == "Upsample2D") {
      const auto size = config_["output_size"].get<std::vector<int64_t>>();
      output("hidden_states", models::upsample(s, input("hidden_states"), size[0], size[1]));
    } else if (kind == "GroupNorm") {
      output("y", group_norm(s, input("x"), integer("groups"), config_["eps"]));
    } else if (kind == "LayerNorm") {
      output("y", layer_norm(s, input("x"), config_["eps"]));
    } else {
      FAIL() << "no builder for " << kind;
    }
  }

  // A whole network: slots named like the golden's inputs, sizes taken from them.
  void whole(Graph graph, const std::map<std::string, std::string>& renamed, const std::string& slot,
             const std::string& output_name) {
    graph_ = std::move(graph);
    for (const graph::ValueId id : graph_.inputs()) {
      const graph::Value& value = graph_.value(id);
      const auto found = renamed.find(value.name);
      Tensor values = in((found == renamed.end() ? value.name : found->second).c_str());
      for (size_t axis = 0; axis < value.type.shape.size(); ++axis)
        if (!value.type.shape[axis].is_constant() && axis < static_cast<size_t>(values.rank()))
          bindings_[value.type.shape[axis].str()] = values.dim(static_cast<int>(axis));
      if (values.dtype() != value.type.dtype) values = values.to(value.type.dtype);
      inputs_.push_back({value.name, values});
    }
    // A timestep of one element serves the whole batch.
    for (auto& [name, values] : inputs_)
      if (name == "timestep" && values.numel() == 1) {
        const float t = values.data<float>()[0];
        values = Tensor::empty(DType::f32, {bindings_["batch"] = inputs_.front().second.dim(0)});
        for (float& value : values.span<float>()) value = t;
      }
    outputs_.push_back({slot, output_name});
  }

  void build_encoder() {
    graph_ = models::autoencoder_kl_encoder(vae_);
    const Tensor picture = in("picture");
    bindings_ = {{"batch", picture.dim(0)}, {"height", picture.dim(2)}, {"width", picture.dim(3)}};
    inputs_.push_back({"sample", picture});
    const auto context = std::make_shared<device::Context>(1);
    exec::WeightStore store(weights_, context);
    exec::CompileOptions options;
    options.bindings = bindings_;
    exec::Session session(exec::compile(graph_, store, context, options));
    session.set("sample", picture);
    session.run();
    // [B, 2C, h, w] holds the mean, then the log variance (the reference clamps it to −30 … 20).
    const Tensor moments = session.tensor("moments"), mean = file_.tensor("out.mean").clone(),
                 logvar = file_.tensor("out.logvar").clone();
    Tensor found_mean = Tensor::empty(DType::f32, mean.shape()), found_logvar = Tensor::empty(DType::f32, mean.shape());
    const int64_t half = mean.numel() / mean.dim(0);
    for (int64_t b = 0; b < mean.dim(0); ++b) {
      std::copy_n(moments.data<float>() + 2 * b * half, half, found_mean.data<float>() + b * half);
      std::copy_n(moments.data<float>() + (2 * b + 1) * half, half, found_logvar.data<float>() + b * half);
    }
    EXPECT_LT(relative_l2(found_mean, mean), bound("mean"));
    EXPECT_LT(relative_l2(found_logvar, logvar), bound("logvar"));
  }

  void build_time_embedding(const Scope& s) {
    ops::TimestepEmbeddingAttrs attrs;
    attrs.dim = static_cast<int>(unet_.levels.front().channels);
    const Var sinusoid = timestep_embedding(input("timesteps"), attrs);
    const int64_t width = 4 * unet_.levels.front().channels;
    output("embedding", linear(s / "linear_2", silu(linear(s / "linear_1", sinusoid, width)), width));
  }

  void build_resnet(const Scope& s) {
    const models::ResnetConfig config{.groups = integer("groups"), .eps = config_["eps"]};
    const Var x = input("hidden_states");
    if (has_input("temb")) {
      const Var temb = input("temb");
      output("hidden_states", resnet_block(s, x, &temb, integer("out_channels"), config));
    } else {
      output("hidden_states", resnet_block(s, x, nullptr, integer("out_channels"), config));
    }
  }

  void build_attention(const Scope& s) {
    const Var x = input("hidden_states");
    Var h = x;
    const bool residual = config_["residual"];
    if (residual) {  // the autoencoder's: a norm over the picture, then a sequence
      h = group_norm(s / "group_norm", h, integer("groups"), config_["eps"]);
      h = reshape(h, {h.dim(0), h.dim(1) * h.dim(2), h.channels()});
    }
    const Var context = has_input("encoder_hidden_states") ? input("encoder_hidden_states") : h;
    const int64_t channels = x.channels(),
                  inner = residual ? channels : int64_t{integer("heads")} * integer("dim_head");
    const Var q = linear(s / "to_q", h, inner, residual), k = linear(s / "to_k", context, inner, residual),
              v = linear(s / "to_v", context, inner, residual);
    h = linear(s / "to_out" / "0", nn::attention(q, k, v, integer("heads")), channels);
    output("hidden_states", residual ? x + reshape(h, x.shape()) : h);
  }

  json entry_, config_;
  io::WeightFiles file_;
  Graph graph_{"golden"};
  std::shared_ptr<const FileWeights> weights_;
  Bindings bindings_;
  std::vector<std::pair<std::string, Tensor>> inputs_;
  std::vector<std::pair<std::string, std::string>> outputs_;
  models::UNet2DConditionConfig unet_;
  models::AutoencoderKLConfig vae_;
  models::ClipTextConfig text_;
};

json entries() { return io::read_json_file(kFolder + "modules.json")["modules"]; }

class ModuleGoldens : public testing::TestWithParam<size_t> {};

TEST_P(ModuleGoldens, Matches) { Golden(entries()[GetParam()]).check(); }

INSTANTIATE_TEST_SUITE_P(All, ModuleGoldens, testing::Range(size_t{0}, entries().size()), [](const auto& info) {
  std::string name = entries()[info.param]["name"];
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

}  // namespace
}  // namespace easel::pipelines
