#include "pipelines/textual_inversion.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "io/tensor_file.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMaxVectors = 4096;

// Of the web UI's checkpoints: {"string_to_param": {"*": vectors}, …}.
constexpr const char* kWebUiVectors = "string_to_param.*";

bool is_inversion_file(const fs::path& path) {
  const fs::path extension = path.extension();
  return extension == ".safetensors" || extension == ".pt" || extension == ".bin";
}

const io::TensorInfo& find_vectors(const io::TensorFile& file, const InversionSlot& slot, bool only_slot) {
  for (const char* name : {"emb_params", kWebUiVectors})
    if (const io::TensorInfo* info = file.find(name); info && only_slot) return *info;
  if (const io::TensorInfo* info = file.find(slot.tensor)) return *info;
  if (!only_slot)
    fail(ErrorCode::io,
         "{}: expected a textual inversion for two text encoders (the tensors clip_l and clip_g), found "
         "no {}",
         printable(file.path(), 400), slot.tensor);
  if (file.tensors().size() != 1)
    fail(ErrorCode::io,
         "{}: expected a textual inversion (the tensor emb_params, string_to_param.*, {} or a single one), found {}",
         printable(file.path(), 400), slot.tensor, file.tensors().size());
  return file.tensors().front();
}

std::vector<Tensor> read_vectors(const fs::path& path, const std::vector<InversionSlot>& slots) {
  const std::string where = printable(path.string(), 400);
  if (!is_inversion_file(path))
    fail(ErrorCode::unsupported, "{}: expected a textual inversion in .safetensors, .pt or .bin, found '{}'", where,
         printable(path.extension().string(), 40));
  const io::TensorFile file = io::TensorFile::open(path.string());
  std::vector<Tensor> out;
  for (const InversionSlot& slot : slots) {
    const io::TensorInfo& info = find_vectors(file, slot, slots.size() == 1);
    const int64_t rows = info.shape.rank() == 2 ? info.shape[0] : 1;
    if (!is_floating(info.dtype) || info.shape.rank() < 1 || info.shape.rank() > 2 || info.shape.back() != slot.width ||
        rows < 1 || rows > kMaxVectors)
      fail(ErrorCode::shape_mismatch,
           "{}: tensor '{}': expected 1 to {} vectors of the text encoder's width {}, found {} {}", where,
           printable(info.name), kMaxVectors, slot.width, to_string(info.dtype), info.shape.str());
    out.push_back(file.tensor(info.name).clone().to(DType::f32).reshape({rows, slot.width}));
    for (const float value : out.back().span<float>())
      if (!std::isfinite(value))
        fail(ErrorCode::io, "{}: tensor '{}': expected finite numbers, found {}", where, printable(info.name), value);
    if (rows != out.front().dim(0))
      fail(ErrorCode::shape_mismatch, "{}: expected as many vectors in clip_l as in clip_g, found {} and {}", where,
           out.front().dim(0), rows);
  }
  return out;
}

std::vector<fs::path> files_below(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (is_inversion_file(it->path())) out.push_back(it->path());
  if (error) fail(ErrorCode::io, "--embedding {}: {}", printable(folder.string(), 400), error.message());
  std::sort(out.begin(), out.end());  // the system's order is no order
  return out;
}

}  // namespace

TextualInversions read_textual_inversions(const std::vector<std::string>& paths,
                                          const std::vector<InversionSlot>& slots) {
  TextualInversions out;
  const auto add = [&](const std::string& name, std::vector<Tensor> vectors) {
    for (const TextualInversion& earlier : out.all)
      if (earlier.name == name) return;
    out.all.push_back({name, std::move(vectors)});
  };
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status))
      fail(ErrorCode::io, "--embedding: expected a file or folder, found nothing at \"{}\"", printable(path, 400));
    if (!fs::is_directory(status)) {
      add(fs::path(path).stem().string(), read_vectors(path, slots));
      continue;
    }
    for (const fs::path& file : files_below(path)) {
      const std::string name = file.lexically_relative(path).replace_extension().generic_string();
      try {
        add(name, read_vectors(file, slots));
      } catch (const Error& reason) {
        out.unusable.emplace(name, reason.what());
      }
    }
  }
  return out;
}

}  // namespace easel::pipelines
