// One file of named tensors, whatever its container: safetensors, a PyTorch checkpoint, GGUF.
#pragma once

#include <easel/tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/block_format.h"

namespace easel::io {

class MappedFile;

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;  ///< of the elements; f32 where they are packed in blocks
  Shape shape;
  uint64_t begin = 0, end = 0;             ///< bytes it takes, from the start of the container's data section
  BlockFormat format = BlockFormat::none;  ///< how its rows are packed
  Shape strides = {};                      ///< in elements, where they are not row-major (PyTorch views); else empty
  std::vector<float> scales = {};          ///< what the elements are to be multiplied by, all or row by row; else empty

  bool packed() const noexcept { return format != BlockFormat::none; }
  bool scaled() const noexcept { return !scales.empty(); }
  /// "f16", "q4_k" or "f8_e4m3_scaled".
  std::string_view encoding() const noexcept;
};

enum class Container { safetensors, pytorch_zip, pytorch_legacy, gguf };

/// "safetensors", "PyTorch checkpoint (zip)" …
std::string_view to_string(Container container) noexcept;

/// What the head of a file says: everything but the values.
struct TensorListing {
  Container container = Container::safetensors;
  std::vector<TensorInfo> tensors;  ///< in the order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;                ///< where the data section starts in the file, in bytes
  std::vector<std::string> absorbed = {};  ///< tensors of the file that became a part of others: scales
};

/// One memory-mapped file: opening reads the head alone. Copies share the mapping; all members may be called from any
/// thread. The file must not be shortened while it is in use.
class TensorFile {
 public:
  /// Tells the container by the content, never by the name. Throws io for anything that is not a well-formed file of a
  /// known kind, and for pickles that ask for more than tensors; nothing in a file is ever run.
  static TensorFile open(const std::string& path);

  const std::string& path() const noexcept;
  Container container() const noexcept;
  const std::vector<TensorInfo>& tensors() const noexcept;
  const std::map<std::string, std::string>& metadata() const noexcept;
  /// Bytes of the file.
  uint64_t file_bytes() const noexcept;
  /// nullptr if there is no such tensor.
  const TensorInfo* find(std::string_view name) const;
  /// Whether the file has a tensor of that name which became a part of another: a scale.
  bool absorbed(std::string_view name) const;

  /// Row-major values. Plain elements are a view of the mapping, which it keeps alive: read-only memory that nothing
  /// aligns, so read elements through memcpy, or clone() into aligned memory. Packed blocks and scaled
  /// elements are decoded to f32, and views with strides are copied. Throws io if there is no such tensor.
  Tensor tensor(std::string_view name) const;
  /// The bytes as they stand in the file: blocks where packed; of a tensor with strides, all that it touches.
  std::span<const std::byte> stored_bytes(const TensorInfo& info) const;
  /// The same as a view of the mapping, which it keeps alive: [bytes] u8.
  Tensor stored(const TensorInfo& info) const;
  /// `count` elements from the row-major position `begin` on, as f32. Where packed, both are whole blocks.
  void read_f32(const TensorInfo& info, int64_t begin, int64_t count, float* out) const;
  /// Gives back the memory of the whole pages inside the tensor; later reads load them again.
  void release_pages(std::string_view name) const;
  /// The same for `count` elements from `begin` on, in whole blocks; of a tensor with strides, nothing.
  void release_pages(const TensorInfo& info, int64_t begin, int64_t count) const;

 protected:
  static TensorFile from(std::shared_ptr<const MappedFile> file, TensorListing listing);

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace easel::io
