// The safetensors format: a JSON header with names, dtypes, shapes and byte ranges, then the raw data.
// https://github.com/huggingface/safetensors#format
#pragma once

#include <easel/tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tensor_file.h"

namespace easel::io {

class AtomicFile;

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in the order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  ///< where the data section starts in the file, in bytes
};

/// Parses and checks the start of a file of `file_size` bytes; `bytes` is the file, or a part of it that holds
/// the whole header (8 + length). The data section must be covered by the tensors without gap or overlap.
/// Throws io, naming `where`, the tensor, what was expected and what came.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, uint64_t file_size,
                                           std::string_view where);

/// A TensorFile that must be a safetensors file.
class SafetensorsFile : public TensorFile {
 public:
  /// Throws io for anything else.
  static SafetensorsFile open(const std::string& path);

 private:
  explicit SafetensorsFile(TensorFile file) : TensorFile(std::move(file)) {}
};

/// Writes a file without holding it in memory: declare every tensor, write each in that order, finish().
/// Nothing appears at `path` before finish(). The data starts at a multiple of 64 bytes.
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;
    Shape shape;
  };
  /// Throws io if the file cannot be made, invalid_argument for repeated or unprintable names.
  SafetensorsWriter(const std::string& path, std::vector<Declaration> tensors,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();

  /// The next declared tensor. Throws invalid_argument if dtype or shape differ.
  void write(const Tensor& tensor);
  /// The next bytes of the data; any pieces.
  void write_bytes(std::span<const std::byte> bytes);
  /// Throws invalid_argument if bytes are missing.
  void finish();

 private:
  std::unique_ptr<AtomicFile> file_;
  std::vector<Declaration> tensors_;
  size_t next_ = 0;
  uint64_t written_ = 0, total_ = 0;
};

/// Contiguous tensors of any dtype; stored in the order of their element size (largest first, else as given),
/// so that each is aligned to its elements. The file appears whole or not at all. Throws io or invalid_argument.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace easel::io
