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
#include <unordered_map>
#include <utility>
#include <vector>

namespace easel::io {

class AtomicFile;
class MappedFile;

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;  ///< bytes in the data section, which starts after the header
};

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

/// One memory-mapped file. Copies share the mapping; all members may be called from any thread.
/// The file must not be shortened while it is in use.
class SafetensorsFile {
 public:
  /// Throws io for anything that is not a well-formed safetensors file.
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const noexcept;
  const std::vector<TensorInfo>& tensors() const noexcept;
  const std::map<std::string, std::string>& metadata() const noexcept;
  /// nullptr if there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// A view of the mapping, which it keeps alive. It is read-only memory, and the format does not align it:
  /// read elements through memcpy, or clone() into aligned memory. Throws io if there is no such tensor.
  Tensor tensor(std::string_view name) const;
  /// Gives back the memory of the whole pages inside the tensor; later reads load them again.
  void release_pages(std::string_view name) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// The tensors of a model, from one .safetensors file or from the shards that a
/// `….safetensors.index.json` lists: {"weight_map": {tensor name: file name in the same folder}}.
class WeightFiles {
 public:
  /// Throws io, also when the index and the shards disagree.
  static WeightFiles open(const std::string& path);

  /// The path it was opened with.
  const std::string& path() const noexcept { return path_; }
  /// Sorted by name.
  const std::vector<std::string>& names() const noexcept { return names_; }
  const std::vector<SafetensorsFile>& files() const noexcept { return files_; }
  const TensorInfo* find(std::string_view name) const;
  /// As SafetensorsFile::tensor and release_pages.
  Tensor tensor(std::string_view name) const;
  void release_pages(std::string_view name) const;
  /// Path of the file that holds the tensor. Throws io if there is none.
  const std::string& file_of(std::string_view name) const;

 private:
  const SafetensorsFile& holder(std::string_view name) const;
  std::string path_;
  std::vector<SafetensorsFile> files_;
  std::vector<std::string> names_;
  std::map<std::string, size_t, std::less<>> holders_;  // only where there is an index
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
