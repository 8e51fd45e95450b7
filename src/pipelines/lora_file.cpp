#include "pipelines/lora_file.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/fail.h"
#include "io/json_file.h"
#include "pipelines/families.h"
#include "tensor/convert.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

using Kind = LoraLayer::Kind;

struct Suffix {
  const char* text;
  const char* role;
  std::optional<Kind> kind = {};
};

// The ends of names; the first that fits counts.
const Suffix kSuffixes[] = {
    {".lora_up.weight", "up", Kind::lora},
    {".lora_down.weight", "down", Kind::lora},
    {".lora_mid.weight", "mid", Kind::lora},
    {".lora_up.bias", "bias", Kind::lora},
    {".lora_B.weight", "up", Kind::lora},
    {".lora_A.weight", "down", Kind::lora},
    {".lora_B.bias", "bias", Kind::lora},
    {".lora.up.weight", "up", Kind::lora},
    {".lora.down.weight", "down", Kind::lora},
    {".lora_linear_layer.up.weight", "up", Kind::lora},
    {".lora_linear_layer.down.weight", "down", Kind::lora},
    {"_lora.up.weight", "up", Kind::lora},  // diffusers until 0.20: attn1.processor.to_q_lora.up.weight
    {"_lora.down.weight", "down", Kind::lora},
    {".lora_magnitude_vector.weight", "magnitude"},
    {".lora_magnitude_vector", "magnitude"},
    {".dora_scale", "magnitude"},
    {".hada_w1_a", "w1_a", Kind::loha},
    {".hada_w1_b", "w1_b", Kind::loha},
    {".hada_w2_a", "w2_a", Kind::loha},
    {".hada_w2_b", "w2_b", Kind::loha},
    {".hada_t1", "t1", Kind::loha},
    {".hada_t2", "t2", Kind::loha},
    {".lokr_w1", "w1", Kind::lokr},
    {".lokr_w1_a", "w1_a", Kind::lokr},
    {".lokr_w1_b", "w1_b", Kind::lokr},
    {".lokr_w2", "w2", Kind::lokr},
    {".lokr_w2_a", "w2_a", Kind::lokr},
    {".lokr_w2_b", "w2_b", Kind::lokr},
    {".lokr_t2", "t2", Kind::lokr},
    {".diff", "diff"},
    {".diff_b", "diff_b"},
    {".w_norm", "diff"},
    {".b_norm", "diff_b"},
    {".alpha", "alpha"},
};

// Other kinds of adapters, by the end of a name.
const Suffix kUnread[] = {{".oft_blocks", "OFT"},     {".oft_diag", "OFT"},
                          {".oft_R.weight", "OFT"},   {".boft_R", "BOFT"},
                          {".on_input", "IA³"},       {".ia3_l", "IA³"},
                          {".a1.weight", "GLoRA"},    {".b1.weight", "GLoRA"},
                          {".vera_lambda_b", "VeRA"}, {".set_weight", "weights that replace"}};

bool take_suffix(std::string& name, const char* suffix) {
  const std::string_view end = suffix;
  if (!name.ends_with(end)) return false;
  name.resize(name.size() - end.size());
  return true;
}

void erase_all(std::string& text, const std::string& part) {
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part)) text.erase(at, part.size());
}

// What wrappers put into names: peft the model and the adapter, early diffusers the processor.
std::string plain_module(std::string key) {
  erase_all(key, "base_model.model.");
  size_t at;
  while ((at = key.find(".processor")) != std::string::npos) key.erase(at, std::strlen(".processor"));
  return key;
}

// Whether all exponents say so; the values may be anywhere in memory.
template <typename Word>
bool all_finite(const Tensor& tensor, Word exponent) {
  const std::byte* bytes = tensor.raw();
  constexpr int64_t kRun = 4096;
  Word words[kRun];
  for (int64_t begin = 0, count = tensor.numel(); begin < count; begin += kRun) {
    const int64_t size = std::min(kRun, count - begin);
    std::memcpy(words, bytes + begin * static_cast<int64_t>(sizeof(Word)), static_cast<size_t>(size) * sizeof(Word));
    bool bad = false;
    for (int64_t i = 0; i < size; ++i) bad |= (words[i] & exponent) == exponent;
    if (bad) return false;
  }
  return true;
}

bool finite(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::f16: return all_finite<uint16_t>(tensor, 0x7c00);
    case DType::bf16: return all_finite<uint16_t>(tensor, 0x7f80);
    case DType::f32: return all_finite<uint32_t>(tensor, 0x7f800000);
    default: break;
  }
  for (int64_t i = 0; i < tensor.numel(); ++i)
    if (!std::isfinite(load_as_double(tensor.raw(), tensor.dtype(), i))) return false;
  return true;
}

/// peft's adapter_config.json, or the part of it that diffusers keeps for one component.
struct PeftConfig {
  std::optional<double> alpha, rank;
  bool rslora = false;
  std::map<std::string, double> alpha_pattern, rank_pattern;
};

PeftConfig read_peft_config(const io::JsonObject& json) {
  PeftConfig out;
  for (const char* key : {"lora_alpha", "alpha"})
    if (json.is_number(key)) out.alpha = json.number(key);
  if (json.is_number("r")) out.rank = json.number("r");
  out.rslora = json.boolean_or("use_rslora", false);
  const auto pattern = [&](const char* key, std::map<std::string, double>& target) {
    if (!json.is_object(key)) return;
    for (const auto& [name, value] : json.json()[key].items())
      if (value.is_number()) target[name] = value.get<double>();
  };
  pattern("alpha_pattern", out.alpha_pattern);
  pattern("rank_pattern", out.rank_pattern);
  return out;
}

// The pattern that is the module's name or its end, else the rule for all.
std::optional<double> by_pattern(const std::map<std::string, double>& pattern, const std::string& module,
                                 const std::optional<double>& otherwise) {
  for (const auto& [name, value] : pattern)
    if (module == name || module.ends_with("." + name)) return value;
  return otherwise;
}

/// Reads one file, layer by layer.
class Reader {
 public:
  explicit Reader(const io::WeightFiles& files) : files_(files), where_(printable(files.path(), 400)) {}

  void read(std::vector<LoraLayer>& layers, std::vector<std::string>& other) {
    std::map<std::string, LoraLayer> found;
    std::map<std::string, Kind> kinds;
    for (const std::string& name : files_.names()) {
      std::string key = name;
      for (const char* adapter : {".default", ".default_0"})
        if (const size_t at = key.find(std::string(adapter) + "."); at != std::string::npos)
          key.erase(at, std::strlen(adapter));
        else
          take_suffix(key, adapter);
      const Suffix* end = nullptr;
      for (const Suffix& suffix : kSuffixes)
        if (take_suffix(key, suffix.text)) {
          end = &suffix;
          break;
        }
      if (!end || key.empty()) {
        refuse_other_kinds(name);
        other.push_back(name);
        continue;
      }
      LoraLayer& layer = found[key];
      layer.key = key;
      if (end->kind && kinds.emplace(key, *end->kind).first->second != *end->kind)
        fail(ErrorCode::io, "{}: tensor '{}': expected a layer of one kind, found {} and {}", where_, printable(name),
             to_string(kinds.at(key)), to_string(*end->kind));
      take(layer, end->role, name);
    }
    for (auto& [key, layer] : found) {
      if (layer.tensors.empty()) {  // an alpha by itself
        other.push_back(key + ".alpha");
        continue;
      }
      layer.module = plain_module(key);
      const auto kind = kinds.find(key);
      layer.kind = kind == kinds.end() ? Kind::full : kind->second;
      check(layer);
      find_scale(layer);
      layers.push_back(std::move(layer));
    }
  }

  void read_configs(const std::map<std::string, std::string>& metadata) {
    const fs::path beside = fs::path(files_.path()).parent_path() / "adapter_config.json";
    std::error_code error;
    const std::string stem = fs::path(files_.path()).stem().string();
    if (stem.starts_with("adapter_model") && fs::exists(beside, error)) {
      configs_[""] = read_peft_config(io::JsonObject::from_file(beside.string()));
      return;
    }
    const auto kept = metadata.find("lora_adapter_metadata");
    if (kept == metadata.end()) return;
    const std::string place = where_ + ", metadata lora_adapter_metadata";
    const nlohmann::json all = io::parse_json(kept->second, place);
    for (const char* component : {"unet", "text_encoder", "text_encoder_2"}) {
      nlohmann::json part = nlohmann::json::object();
      for (const auto& [key, value] : all.items())
        if (key.starts_with(std::string(component) + ".")) part[key.substr(std::strlen(component) + 1)] = value;
      if (!part.empty()) configs_[component] = read_peft_config(io::JsonObject(part, place));
    }
  }

 private:
  void refuse_other_kinds(const std::string& name) const {
    for (const Suffix& kind : kUnread)
      if (name.ends_with(kind.text))
        fail(ErrorCode::unsupported,
             "{}: tensor '{}': expected LoRA, LoCon, LoHa, LoKr or DoRA, found {}, which is not "
             "read",
             where_, printable(name), kind.role);
  }

  void take(LoraLayer& layer, const std::string& role, const std::string& name) const {
    const io::TensorInfo& info = *files_.find(name);
    if (role == "alpha") {
      if (info.shape.numel() != 1)
        fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected a single number, found shape {}", where_,
             printable(name), info.shape.str());
      const Tensor value = files_.tensor(name);
      layer.alpha = load_as_double(value.raw(), value.dtype(), 0);
      if (!std::isfinite(*layer.alpha))
        fail(ErrorCode::io, "{}: tensor '{}': expected a finite number, found {}", where_, printable(name),
             *layer.alpha);
      return;
    }
    if (!is_floating(info.dtype))
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected floating-point values, found {}", where_,
           printable(name), info.encoding());
    const Tensor values = files_.tensor(name);
    if (!finite(values))
      fail(ErrorCode::io, "{}: tensor '{}': expected finite numbers, found others", where_, printable(name));
    if (role == "magnitude") layer.magnitude_by_input = by_input(name, info.shape);
    if (!layer.tensors.emplace(role, values).second)
      fail(ErrorCode::io, "{}: tensor '{}': the layer has another of the same meaning", where_, printable(name));
  }

  // peft keeps [1, O, 1, 1] for convolutions; in LyCORIS and kohya's scripts [1, I, 1, 1] and [O, 1, 1, 1] differ.
  static bool by_input(const std::string& name, const Shape& shape) {
    return name.ends_with("dora_scale") && shape.rank() > 1 && shape[0] == 1 && shape[1] > 1;
  }

  const Tensor& need(const LoraLayer& layer, const char* role, const char* partner) const {
    const Tensor* found = layer.find(role);
    if (!found)
      fail(ErrorCode::io, "{}: layer '{}': expected '{}' beside '{}', found none", where_, printable(layer.key), role,
           partner);
    if (found->rank() < 1 || found->numel() == 0)
      fail(ErrorCode::shape_mismatch, "{}: layer '{}': '{}': expected a matrix, found shape {}", where_,
           printable(layer.key), role, found->shape().str());
    return *found;
  }

  void expect_rank(const LoraLayer& layer, const char* role, int64_t found) const {
    if (found != layer.rank)
      fail(ErrorCode::shape_mismatch, "{}: layer '{}': '{}': expected rank {}, found {}", where_, printable(layer.key),
           role, layer.rank, found);
  }

  int64_t columns(const LoraLayer& layer, const char* role, const Tensor& matrix) const {
    if (matrix.rank() < 2)
      fail(ErrorCode::shape_mismatch, "{}: layer '{}': '{}': expected a matrix, found shape {}", where_,
           printable(layer.key), role, matrix.shape().str());
    return matrix.numel() / matrix.dim(0);
  }

  // A product a · b of rank r; with t, [r, r, …], both are cut along the rank first.
  void check_product(LoraLayer& layer, const char* a, const char* b, const char* t) const {
    const Tensor &left = need(layer, a, b), &right = need(layer, b, a);
    layer.rank = right.dim(0);
    columns(layer, b, right);
    const Tensor* core = layer.find(t);
    if (core) {
      if (core->rank() < 2)
        fail(ErrorCode::shape_mismatch, "{}: layer '{}': '{}': expected at least two axes, found shape {}", where_,
             printable(layer.key), t, core->shape().str());
      expect_rank(layer, t, core->dim(1));
      columns(layer, a, left);
    }
    const bool transposed = core && layer.kind != Kind::lora;
    const int64_t inner = transposed ? left.dim(0) : columns(layer, a, left);
    if (core && inner != core->dim(0))
      fail(ErrorCode::shape_mismatch, "{}: layer '{}': '{}': expected rank {}, found {}", where_, printable(layer.key),
           a, core->dim(0), inner);
    if (!core) expect_rank(layer, a, inner);
  }

  void check(LoraLayer& layer) const {
    const auto has = [&](const char* role) { return layer.tensors.contains(role); };
    switch (layer.kind) {
      case Kind::lora: return check_product(layer, "up", "down", "mid");
      case Kind::loha: {
        check_product(layer, "w1_a", "w1_b", "t1");
        const int64_t rank = layer.rank;
        check_product(layer, "w2_a", "w2_b", "t2");
        return expect_rank(layer, "w1_b", rank);
      }
      case Kind::lokr:
        if (has("w1_a") || has("w1_b"))
          check_product(layer, "w1_a", "w1_b", "");
        else
          columns(layer, "w1", need(layer, "w1", "w2"));
        if (has("w2_a") || has("w2_b"))
          check_product(layer, "w2_a", "w2_b", "t2");
        else
          columns(layer, "w2", need(layer, "w2", "w1"));
        return;
      case Kind::full:
        if (!has("diff") && !has("diff_b"))
          fail(ErrorCode::io, "{}: layer '{}': expected what it adds to the weight, found '{}' alone", where_,
               printable(layer.key), layer.tensors.begin()->first);
    }
  }

  void find_scale(LoraLayer& layer) const {
    if (layer.kind == Kind::full) return;
    auto rank = static_cast<double>(layer.rank);
    bool rslora = false;
    if (const PeftConfig* config = config_of(layer.module)) {
      if (!layer.alpha) layer.alpha = by_pattern(config->alpha_pattern, layer.module, config->alpha);
      rslora = config->rslora;
      // Two whole factors do not show it.
      if (layer.kind == Kind::lokr) rank = by_pattern(config->rank_pattern, layer.module, config->rank).value_or(rank);
    }
    if (layer.alpha && rank > 0) layer.scale = *layer.alpha / (rslora ? std::sqrt(rank) : rank);
  }

  const PeftConfig* config_of(const std::string& module) const {
    for (const auto& [component, config] : configs_)
      if (component.empty() || module.starts_with(component + ".")) return &config;
    return nullptr;
  }

  const io::WeightFiles& files_;
  std::string where_;
  std::map<std::string, PeftConfig> configs_;
};

// A folder as peft and diffusers save it.
std::string file_in(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error))
    fail(ErrorCode::io, "{}: expected a LoRA file or folder, found nothing", printable(path, 400));
  if (!fs::is_directory(path, error)) return path;
  for (const char* name : {"adapter_model.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.bin",
                           "pytorch_lora_weights.bin"})
    if (fs::exists(fs::path(path) / name, error)) return (fs::path(path) / name).string();
  fail(ErrorCode::io,
       "{}: expected adapter_model.safetensors or pytorch_lora_weights.safetensors in the folder, found "
       "neither",
       printable(path, 400));
}

std::string naming_of(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.starts_with("lora_") || name.starts_with("lycoris_")) return "kohya";
    if (name.find("base_model.model.") != std::string::npos) return "peft";
    if (name.find("diffusion_model.") != std::string::npos) return "original";
  }
  return "diffusers";
}

}  // namespace

const Tensor* LoraLayer::find(const std::string& role) const {
  const auto found = tensors.find(role);
  return found == tensors.end() ? nullptr : &found->second;
}

const char* to_string(LoraLayer::Kind kind) noexcept {
  switch (kind) {
    case Kind::lora: return "LoRA";
    case Kind::loha: return "LoHa";
    case Kind::lokr: return "LoKr";
    case Kind::full: return "full difference";
  }
  return "?";
}

std::shared_ptr<const LoraFile> LoraFile::open(const std::string& path) {
  auto out = std::make_shared<LoraFile>();
  out->path_ = file_in(path);
  const io::WeightFiles files = io::WeightFiles::open(out->path_);
  for (const io::TensorFile& file : files.files())
    out->metadata_.insert(file.metadata().begin(), file.metadata().end());
  Reader reader(files);
  reader.read_configs(out->metadata_);
  reader.read(out->layers_, out->other_);
  if (out->layers_.empty()) {
    const Identity identity = identify(files);
    fail(ErrorCode::unsupported, "{}: expected a LoRA, found: {}", printable(out->path_, 400),
         identity.parts.empty() ? fmt::format("{} tensors of something else, the first '{}'", files.names().size(),
                                              files.names().empty() ? "" : printable(files.names().front(), 80))
                                : identity.summary() + option_for(identity));
  }
  out->naming_ = naming_of(files.names());
  return out;
}

}  // namespace easel::pipelines
