// How a tensor of a new file comes from tensors of others, written piece by piece.
#pragma once

#include <easel/convert.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "io/tensor_file.h"

namespace easel::pipelines {

/// How elements are stored: a plain dtype, or blocks.
struct Encoding {
  DType dtype = DType::f32;
  BlockFormat format = BlockFormat::none;
  bool operator==(const Encoding&) const = default;
  /// "f16", "q4_k".
  std::string_view name() const { return format == BlockFormat::none ? to_string(dtype) : to_string(format); }
};

/// "fp32", "fp16", "bf16", "f8_e4m3", "f8_e5m2", "q8_0", "q4_k" … Throws invalid_argument, beginning with `where`.
Encoding parse_encoding(const std::string& where, const std::string& name);

/// value = change(Σ weight · term), the sum accumulated in f32 in this order.
struct Recipe {
  /// A stored tensor, a range of its elements, or the transpose of a matrix.
  struct Source {
    io::TensorFile file;
    const io::TensorInfo* info;
    int64_t begin = 0, count = 0;  ///< row-major elements; of a packed tensor in whole blocks
    bool transposed = false;       ///< the whole of it
  };
  /// The elements of its sources one after the other.
  struct Term {
    std::vector<Source> sources;
    double weight = 1;
  };
  std::string name;
  Shape shape;         ///< of the new tensor
  Shape stored_shape;  ///< GGUF: rows as they are cut for blocks; else equal to shape
  Encoding encoding;
  std::vector<Term> terms;
  /// Nothing, or what is done to the sum, of `shape` in f32, as a whole: it is in memory at once.
  std::function<Tensor(const Tensor&)> change = {};

  /// One tensor or a range of one, taken over as its bytes are.
  bool copied() const;
  /// The values change when they are stored: less precision or packing.
  bool lossy() const;
};

/// One file to be written: .gguf, or safetensors.
struct RecipeFile {
  std::string path;
  bool gguf = false;
  std::vector<Recipe> tensors;
  std::map<std::string, std::string> metadata;
};

/// Called with bytes done and bytes in all.
using ByteProgress = std::function<void(uint64_t, uint64_t)>;

/// Bytes of the new tensors.
uint64_t total_bytes(const RecipeFile& file);

/// Writes the file, whole or not at all, a few megabytes at a time: memory does not grow with the file. `done` counts
/// on over several files. Throws io; invalid_argument for values that the encoding cannot hold (larger than its
/// largest number, or not finite in blocks), naming tensor and value; cancelled.
void write_recipes(const RecipeFile& file, uint64_t& done, const ByteProgress& progress, const CancelToken& cancel);

/// Opens the file as any reader would and compares it with its sources: names, shapes and encodings, every byte with
/// what the recipe gives again, and every value with the source's. Throws io at the first difference that the encoding
/// does not explain.
void check_recipes(const RecipeFile& file, CheckReport& report, const CancelToken& cancel);

}  // namespace easel::pipelines
