#include "io/fp8_scales.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "base/fail.h"
#include "tensor/convert.h"

namespace easel::io {

namespace {

// A name with this ending, without it; empty for others.
std::string_view stem(std::string_view name, std::string_view ending) {
  return name.ends_with(ending) ? name.substr(0, name.size() - ending.size()) : std::string_view();
}

// Of the weight that a tensor scales; empty where it is no scale.
std::string weight_of(std::string_view name) {
  for (const std::string_view ending : {".scale_weight", ".weight_scale"})
    if (const std::string_view layer = stem(name, ending); !layer.empty()) return std::string(layer) + ".weight";
  return "";
}

bool is_companion(std::string_view name) {
  if (name == "scaled_fp8" || name.ends_with(".scaled_fp8")) return true;
  for (const std::string_view ending : {".scale_input", ".input_scale", ".comfy_quant"})
    if (!stem(name, ending).empty()) return true;
  return false;
}

std::vector<float> read_scales(const TensorInfo& info, const TensorInfo& weight, const std::byte* data,
                               const std::string& where) {
  const int64_t count = info.shape.numel(), rows = weight.shape.rank() > 0 ? weight.shape[0] : 1;
  const bool plain = is_floating(info.dtype) && !info.packed() && info.strides.empty();
  const bool per_row = info.shape.rank() > 0 && info.shape[0] == rows && count == rows;
  if (!plain || !is_floating(weight.dtype) || weight.packed() || (count != 1 && !per_row))
    fail(ErrorCode::io,
         "{}: tensor '{}': expected one scale or one per row of {} {} '{}', found {} {}, which is not read", where,
         printable(info.name), weight.encoding(), weight.shape.str(), printable(weight.name), info.encoding(),
         info.shape.str());
  std::vector<float> out(static_cast<size_t>(count));
  convert_to_f32(data, info.dtype, out.data(), count);
  for (const float scale : out)
    if (!std::isfinite(scale))
      fail(ErrorCode::io, "{}: tensor '{}': expected a finite scale, found {}", where, printable(info.name), scale);
  return out;
}

}  // namespace

void take_fp8_scales(TensorListing& listing, std::span<const std::byte> bytes, const std::string& where) {
  std::vector<TensorInfo>& tensors = listing.tensors;
  const auto special = [](const TensorInfo& t) { return is_companion(t.name) || !weight_of(t.name).empty(); };
  if (std::ranges::none_of(tensors, special)) return;
  std::unordered_map<std::string_view, TensorInfo*> by_name;
  for (TensorInfo& tensor : tensors) by_name.emplace(tensor.name, &tensor);
  for (const TensorInfo& tensor : tensors) {
    const std::string name = weight_of(tensor.name);
    if (name.empty()) continue;
    const auto weight = by_name.find(name);
    if (weight == by_name.end())
      fail(ErrorCode::io, "{}: tensor '{}' is a scale: expected its weight '{}' in the same file, found none", where,
           printable(tensor.name), printable(name));
    if (!weight->second->scales.empty())
      fail(ErrorCode::io, "{}: tensor '{}': expected one scale, found two", where, printable(name));
    weight->second->scales =
        read_scales(tensor, *weight->second, bytes.data() + listing.data_offset + tensor.begin, where);
  }
  for (const TensorInfo& tensor : tensors)
    if (special(tensor)) listing.absorbed.push_back(tensor.name);
  std::erase_if(tensors, special);
}

}  // namespace easel::io
