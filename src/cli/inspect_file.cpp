#include "cli/inspect_file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/fail.h"
#include "cli/interrupts.h"
#include "cli/progress_bar.h"
#include "io/sha256.h"
#include "pipelines/families.h"
#include "pipelines/ip_adapter_file.h"
#include "pipelines/lora_file.h"
#include "pipelines/model_files.h"

namespace easel::cli {

using Json = nlohmann::ordered_json;

namespace {

void print(const std::string& line) { std::puts(line.c_str()); }
void print(const Json& json) { std::puts(json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str()); }

std::string hash_of(const std::string& path) {
  ProgressBar bar(true);
  const CancelToken cancel = cancel_on_interrupt();
  return io::sha256_of_file(path, [&](uint64_t done, uint64_t all) {
    if (cancel.cancelled()) fail(ErrorCode::cancelled, "cancelled");
    bar.phase(fmt::format("hashing {} of {} MB", done / 1'000'000, all / 1'000'000));
  });
}

/// What there is to say about a file of adapters.
struct LoraReport {
  std::string problem;  ///< why it cannot be used; then nothing else
  pipelines::LoraFile::Family family;
  std::string naming;
  std::map<std::string, int> kinds, ranks, alphas, components;
  std::vector<std::string> other;
};

std::string component_of(const std::string& key) {
  const auto has = [&](const char* part) { return key.find(part) != std::string::npos; };
  if (has("lora_te2_") || has("text_encoder_2") || has("clip_g")) return "text_encoder_2";
  if (has("lora_te") || has("text_encoder") || has("text_model") || has("clip_l")) return "text_encoder";
  return "unet";
}

LoraReport report_lora(const std::string& path) {
  LoraReport out;
  try {
    const auto file = pipelines::LoraFile::open(path);
    out.family = file->family();
    out.naming = file->naming();
    out.other = file->other_tensors();
    for (const pipelines::LoraLayer& layer : file->layers()) {
      ++out.kinds[std::string(to_string(layer.kind)) + (layer.dora() ? ", DoRA" : "")];
      if (layer.rank > 0) ++out.ranks[fmt::format("{}", layer.rank)];
      ++out.alphas[layer.alpha ? fmt::format("{:g}", *layer.alpha) : "none"];
      ++out.components[component_of(layer.key)];
    }
  } catch (const Error& error) {
    out.problem = error.what();
  }
  return out;
}

std::string counts(const std::map<std::string, int>& values) {
  std::string out;
  for (const auto& [value, count] : values) out += fmt::format("{}{} ×{}", out.empty() ? "" : ", ", value, count);
  return out;
}

void print_lora(const LoraReport& lora) {
  if (!lora.problem.empty()) return print(fmt::format("  adapters    cannot be used: {}", lora.problem));
  print(fmt::format("  adapters    {}; {} names", counts(lora.kinds), lora.naming));
  print(fmt::format("  for         {}", lora.family.name.empty()
                                            ? "models that nothing in it tells"
                                            : fmt::format("{}, as {}", lora.family.name, lora.family.reason)));
  print(fmt::format("  layers      {}", counts(lora.components)));
  if (!lora.ranks.empty()) print(fmt::format("  ranks       {}", counts(lora.ranks)));
  print(fmt::format("  alphas      {}", counts(lora.alphas)));
  if (!lora.other.empty())
    print(fmt::format("  not read    {} tensors, such as {}", lora.other.size(), printable(lora.other.front())));
}

Json json_of(const LoraReport& lora) {
  if (!lora.problem.empty()) return {{"problem", lora.problem}};
  return {{"kinds", lora.kinds},           {"naming", lora.naming},     {"for", lora.family.name},
          {"because", lora.family.reason}, {"layers", lora.components}, {"ranks", lora.ranks},
          {"alphas", lora.alphas},         {"not_read", lora.other}};
}

/// What there is to say about an IP-Adapter.
struct IpAdapterReport {
  std::string problem;  ///< why it cannot be used; then nothing else
  std::string kind, family, reads;
  int64_t cross_attention_dim = 0;
  size_t layers = 0;
};

IpAdapterReport report_ip_adapter(const std::string& path) {
  IpAdapterReport out;
  try {
    const auto file = pipelines::IpAdapterFile::open(path);
    const models::IpAdapterConfig& config = file->config();
    out.kind = file->kind();
    out.family = file->family();
    out.cross_attention_dim = config.cross_attention_dim;
    out.layers = file->layers();
    out.reads = fmt::format("{} {}", config.kind == models::IpAdapterKind::plain ? "projection_dim" : "hidden_size",
                            config.image_dim);
  } catch (const Error& error) {
    out.problem = error.what();
  }
  return out;
}

void print_ip_adapter(const IpAdapterReport& adapter) {
  if (!adapter.problem.empty()) return print(fmt::format("  adapter     cannot be used: {}", adapter.problem));
  print(fmt::format("  adapter     {}", adapter.kind));
  print(fmt::format("  for         {} (cross_attention_dim {}, {} attention layers)",
                    adapter.family.empty() ? "models of no published width" : adapter.family,
                    adapter.cross_attention_dim, adapter.layers));
  print(fmt::format("  sees with   an image encoder of {}", adapter.reads));
}

Json json_of(const IpAdapterReport& adapter) {
  if (!adapter.problem.empty()) return {{"problem", adapter.problem}};
  return {{"kind", adapter.kind},
          {"for", adapter.family},
          {"cross_attention_dim", adapter.cross_attention_dim},
          {"attention_layers", adapter.layers},
          {"image_encoder", adapter.reads}};
}

std::vector<int64_t> list(const Shape& shape) { return {shape.begin(), shape.end()}; }

}  // namespace

void inspect_weights(const std::string& path, bool json, bool hash) {
  std::error_code error;
  const io::WeightFiles files =
      std::filesystem::is_directory(path, error)
          ? *pipelines::open_weights(path, {"diffusion_pytorch_model", "model", "pytorch_model"})
          : io::WeightFiles::open(path);
  const pipelines::Identity identity = pipelines::identify(files);
  int64_t parameters = 0;
  uint64_t bytes = 0, file_bytes = 0;
  std::map<std::string, int64_t> dtypes;
  std::map<std::string, std::string> metadata;
  size_t widest = 0, count = 0;
  for (const io::TensorFile& file : files.files()) {
    file_bytes += file.file_bytes();
    metadata.insert(file.metadata().begin(), file.metadata().end());
    for (const io::TensorInfo& tensor : file.tensors()) {
      parameters += tensor.shape.numel();
      bytes += tensor.end - tensor.begin;
      ++dtypes[std::string(tensor.encoding())];
      widest = std::max(widest, tensor.name.size());
      ++count;
    }
  }
  const std::string container(
      to_string(files.files().empty() ? io::Container::safetensors : files.files().front().container()));
  // Of shards, each file has a hash of its own.
  std::vector<std::string> hashes;
  if (hash)
    for (const io::TensorFile& file : files.files()) hashes.push_back(hash_of(file.path()));
  std::optional<LoraReport> lora;
  if (identity.find(pipelines::Part::lora)) lora = report_lora(path);
  std::optional<IpAdapterReport> ip_adapter;
  if (identity.summary().starts_with("IP-Adapter")) ip_adapter = report_ip_adapter(path);
  if (json) {
    Json out = {{"file", path},
                {"container", container},
                {"file_bytes", file_bytes},
                {"family", identity.parts.empty() ? "unknown" : identity.parts.front().row->family},
                {"summary", identity.summary()},
                {"evidence", identity.evidence()},
                {"prediction_type", identity.prediction_type},
                {"prediction_reason", identity.prediction_reason},
                {"parameters", parameters},
                {"bytes", bytes},
                {"dtypes", dtypes}};
    if (hashes.size() == 1) {
      out["sha256"] = hashes[0];
      out["autov2"] = hashes[0].substr(0, 10);
    } else if (!hashes.empty()) {
      for (size_t i = 0; i < hashes.size(); ++i) out["sha256"][files.files()[i].path()] = hashes[i];
    }
    if (lora) out["lora"] = json_of(*lora);
    if (ip_adapter) out["ip_adapter"] = json_of(*ip_adapter);
    out["metadata"] = metadata;
    out["tensors"] = Json::array();
    for (const io::TensorFile& file : files.files())
      for (const io::TensorInfo& tensor : file.tensors())
        out["tensors"].push_back({{"name", tensor.name}, {"dtype", tensor.encoding()}, {"shape", list(tensor.shape)}});
    return print(out);
  }
  std::string kinds;
  for (const auto& [dtype, number] : dtypes) kinds += fmt::format("{}{} ×{}", kinds.empty() ? "" : ", ", dtype, number);
  print(fmt::format("{}: {} tensors, {} parameters, {} bytes", printable(path, 400), count, parameters, bytes));
  print(fmt::format("  container   {}, {} bytes", container, file_bytes));
  print(fmt::format("  family      {}", identity.summary()));
  print(fmt::format("  because     {}", identity.evidence()));
  if (lora) print_lora(*lora);
  if (ip_adapter) print_ip_adapter(*ip_adapter);
  if (!identity.prediction_type.empty())
    print(fmt::format("  prediction  {} ({})", identity.prediction_type, identity.prediction_reason));
  print(fmt::format("  dtypes      {}", kinds));
  for (size_t i = 0; i < hashes.size(); ++i)
    print(fmt::format("  SHA-256     {}{}", hashes[i],
                      hashes.size() > 1 ? "  " + printable(files.files()[i].path(), 400) : ""));
  if (hashes.size() == 1) print(fmt::format("  AutoV2      {}", hashes[0].substr(0, 10)));
  for (const auto& [key, value] : metadata) print(fmt::format("  {}: {}", printable(key), printable(value, 400)));
  for (const io::TensorFile& file : files.files())
    for (const io::TensorInfo& tensor : file.tensors())
      print(fmt::format("  {:<{}}  {:<7}  {}", printable(tensor.name, 400), widest, tensor.encoding(),
                        tensor.shape.str()));
}

namespace {

struct Difference {
  std::string name;
  double largest = 0, relative = 0;
};

// ‖a − b‖ / ‖a‖ and the largest difference; infinite where a number is not finite in one of them alone.
Difference compare(const std::string& name, const io::WeightFiles& a, const io::WeightFiles& b) {
  constexpr int64_t kPiece = 1 << 20;
  const io::TensorFile &file_a = a.holder(name), &file_b = b.holder(name);
  const io::TensorInfo &info_a = *file_a.find(name), &info_b = *file_b.find(name);
  const int64_t count = info_a.shape.numel();
  std::vector<float> left(static_cast<size_t>(std::min(count, kPiece))), right(left.size());
  Difference out{name, 0, 0};
  double error = 0, norm = 0;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    file_a.read_f32(info_a, begin, size, left.data());
    file_b.read_f32(info_b, begin, size, right.data());
    for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
      const bool same = left[i] == right[i] || (std::isnan(left[i]) && std::isnan(right[i]));
      const double d = same ? 0 : std::fabs(static_cast<double>(left[i]) - right[i]);
      out.largest = std::isnan(d) ? HUGE_VAL : std::max(out.largest, d);
      error += d * d;
      if (std::isfinite(left[i])) norm += static_cast<double>(left[i]) * left[i];
    }
    file_a.release_pages(info_a, begin, size);
    file_b.release_pages(info_b, begin, size);
  }
  out.relative = error == 0 ? 0 : norm > 0 && std::isfinite(error) ? std::sqrt(error / norm) : HUGE_VAL;
  return out;
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json("infinite"); }

}  // namespace

void inspect_difference(const std::string& path_a, const std::string& path_b, bool json) {
  const io::WeightFiles a = io::WeightFiles::open(path_a), b = io::WeightFiles::open(path_b);
  const CancelToken cancel = cancel_on_interrupt();
  std::vector<std::string> only_a, only_b, types;
  std::vector<Difference> values;
  int64_t equal = 0;
  for (const std::string& name : a.names()) {
    if (cancel.cancelled()) fail(ErrorCode::cancelled, "cancelled");
    const io::TensorInfo *left = a.find(name), *right = b.find(name);
    if (!right) {
      only_a.push_back(name);
      continue;
    }
    const bool typed = left->shape == right->shape && left->encoding() == right->encoding();
    if (!typed)
      types.push_back(fmt::format("{}: {} {}, {} {}", name, left->encoding(), left->shape.str(), right->encoding(),
                                  right->shape.str()));
    if (!(left->shape == right->shape)) continue;
    const Difference found = compare(name, a, b);
    if (found.largest > 0)
      values.push_back(found);
    else if (typed)
      ++equal;
  }
  for (const std::string& name : b.names())
    if (!a.find(name)) only_b.push_back(name);
  std::stable_sort(values.begin(), values.end(),
                   [](const Difference& x, const Difference& y) { return x.relative > y.relative; });
  if (json) {
    Json differing = Json::array();
    for (const Difference& d : values)
      differing.push_back(
          {{"name", d.name}, {"relative_error", number(d.relative)}, {"largest_difference", number(d.largest)}});
    return print({{"a", path_a},
                  {"b", path_b},
                  {"equal", equal},
                  {"only_a", only_a},
                  {"only_b", only_b},
                  {"types", types},
                  {"values", differing}});
  }
  print(fmt::format("{} tensors equal, {} with other values, {} of another type or shape, {} only in A, {} only in B",
                    equal, values.size(), types.size(), only_a.size(), only_b.size()));
  for (const std::string& name : only_a) print("  only in A  " + printable(name, 400));
  for (const std::string& name : only_b) print("  only in B  " + printable(name, 400));
  for (const std::string& line : types) print("  type       " + printable(line, 500));
  for (const Difference& d : values)
    print(fmt::format("  values     {}: relative error {:.3e}, largest difference {:.3e}", printable(d.name, 400),
                      d.relative, d.largest));
}

}  // namespace easel::cli
