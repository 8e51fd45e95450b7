// The GGUF format of ggml: typed metadata, tensor descriptions, aligned data whose rows may be packed in blocks.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/tensor_file.h"

namespace easel::io {

class AtomicFile;

/// The head of a file of version 2 or 3. Shapes are turned around to the outermost dimension first, and where the
/// metadata has `comfy.gguf.orig_shape.<tensor>` (rows cut anew so that they fill blocks), that shape holds. Metadata
/// is given as text, lists with their first values. Throws io, naming `where`, the tensor or key and the byte: for
/// other versions and byte orders, types that are not read (by name), counts, lengths and offsets that the file does
/// not hold, rows that are no whole blocks, data that overlaps or is not aligned, lists nested deeper than 4.
TensorListing read_gguf(std::span<const std::byte> bytes, std::string_view where);

using GgufValue = std::variant<std::string, uint32_t, std::vector<int32_t>>;

/// Writes version 3 without holding it in memory: declare every tensor, write the bytes of each in that order,
/// finish(). Nothing appears at `path` before finish().
class GgufWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype = DType::f32;  ///< f32, f16, bf16, f64 or a signed integer; not looked at where packed
    BlockFormat format = BlockFormat::none;
    Shape shape;  ///< at most four dimensions; a scalar becomes [1]
  };
  /// Throws io if the file cannot be made; invalid_argument for repeated names, names over 127 bytes, dtypes that GGUF
  /// has none for, and rows that are no whole blocks.
  GgufWriter(const std::string& path, std::vector<Declaration> tensors,
             const std::map<std::string, GgufValue>& metadata);
  ~GgufWriter();

  /// The next bytes of the tensors; any pieces, padding between tensors is added here.
  void write_bytes(std::span<const std::byte> bytes);
  /// Throws invalid_argument if bytes are missing, io if the disk is full.
  void finish();

 private:
  void pad();
  std::unique_ptr<AtomicFile> file_;
  std::vector<uint64_t> sizes_;  // of the tensors, in bytes
  size_t tensor_ = 0;
  uint64_t written_ = 0;  // of the current tensor
};

/// Bytes of a row-major tensor in a file.
uint64_t encoded_bytes(DType dtype, BlockFormat format, const Shape& shape);

}  // namespace easel::io
