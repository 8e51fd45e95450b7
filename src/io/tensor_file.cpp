#include "io/tensor_file.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/fail.h"
#include "io/fp8_scales.h"
#include "io/gguf.h"
#include "io/mapped_file.h"
#include "io/pytorch.h"
#include "io/safetensors.h"
#include "tensor/convert.h"

namespace easel::io {

std::string_view to_string(Container container) noexcept {
  switch (container) {
    case Container::safetensors: return "safetensors";
    case Container::pytorch_zip: return "PyTorch checkpoint (zip)";
    case Container::pytorch_legacy: return "PyTorch checkpoint (legacy)";
    case Container::gguf: return "GGUF";
  }
  return "?";
}

std::string_view TensorInfo::encoding() const noexcept {
  if (packed()) return to_string(format);
  if (!scaled()) return to_string(dtype);
  return dtype == DType::f8_e4m3 ? "f8_e4m3_scaled" : dtype == DType::f8_e5m2 ? "f8_e5m2_scaled" : "scaled";
}

struct TensorFile::Impl {
  std::shared_ptr<const MappedFile> file;
  TensorListing listing;
  std::unordered_map<std::string_view, const TensorInfo*> by_name;
};

TensorFile TensorFile::from(std::shared_ptr<const MappedFile> mapping, TensorListing listing) {
  auto impl = std::make_shared<Impl>();
  impl->file = std::move(mapping);
  impl->listing = std::move(listing);
  for (const TensorInfo& tensor : impl->listing.tensors) impl->by_name.emplace(tensor.name, &tensor);
  TensorFile file;
  file.impl_ = std::move(impl);
  return file;
}

namespace {

bool begins_with(std::span<const std::byte> bytes, std::string_view magic, size_t at = 0) {
  return bytes.size() >= at + magic.size() && std::memcmp(bytes.data() + at, magic.data(), magic.size()) == 0;
}

// Things that are often found under the name of a weight file.
void refuse_known_others(std::span<const std::byte> bytes, const std::string& where) {
  if (begins_with(bytes, "version https://git-lfs"))
    fail(ErrorCode::io, "{}: found a Git LFS pointer, not the file itself; fetch it with git lfs pull", where);
  if (begins_with(bytes, "<!DOCTYPE") || begins_with(bytes, "<html"))
    fail(ErrorCode::io, "{}: found a web page, not a weight file (did the download need a login?)", where);
  if (begins_with(bytes, "ustar", 257))
    fail(ErrorCode::io,
         "{}: found PyTorch's tar layout of before 2017; load it with torch and save it again, in the zip layout",
         where);
  if (begins_with(bytes, "\x1f\x8b") || begins_with(bytes, "7z\xbc\xaf") || begins_with(bytes, "Rar!"))
    fail(ErrorCode::io, "{}: found a compressed archive; unpack it first", where);
}

}  // namespace

TensorFile TensorFile::open(const std::string& path) {
  std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  TensorListing listing;
  if (begins_with(bytes, "GGUF") || begins_with(bytes, "FUGG")) {
    listing = read_gguf(bytes, path);
  } else if (begins_with(bytes, "PK\x03\x04") || begins_with(bytes, "PK\x05\x06")) {
    listing = read_pytorch_zip(bytes, path);
  } else if (looks_like_pickle(bytes)) {
    listing = read_pytorch_legacy(bytes, path);
  } else {
    if (bytes.empty()) fail(ErrorCode::io, "{}: expected a file of tensors, found an empty file", printable(path, 300));
    refuse_known_others(bytes, printable(path, 300));
    if (!path.ends_with(".safetensors") && !(bytes.size() > 8 && bytes[8] == std::byte{'{'}))
      fail(ErrorCode::io, "{}: expected safetensors, a PyTorch checkpoint or GGUF, found none of them",
           printable(path, 300));
    SafetensorsHeader header = parse_safetensors_header(bytes, bytes.size(), path);
    listing = {Container::safetensors, std::move(header.tensors), std::move(header.metadata), header.data_offset};
  }
  take_fp8_scales(listing, bytes, printable(path, 300));
  return from(std::move(file), std::move(listing));
}

const std::string& TensorFile::path() const noexcept { return impl_->file->path(); }
Container TensorFile::container() const noexcept { return impl_->listing.container; }
const std::vector<TensorInfo>& TensorFile::tensors() const noexcept { return impl_->listing.tensors; }
const std::map<std::string, std::string>& TensorFile::metadata() const noexcept { return impl_->listing.metadata; }
uint64_t TensorFile::file_bytes() const noexcept { return impl_->file->bytes().size(); }

const TensorInfo* TensorFile::find(std::string_view name) const {
  const auto found = impl_->by_name.find(name);
  return found == impl_->by_name.end() ? nullptr : found->second;
}

bool TensorFile::absorbed(std::string_view name) const {
  return std::ranges::find(impl_->listing.absorbed, name) != impl_->listing.absorbed.end();
}

std::span<const std::byte> TensorFile::stored_bytes(const TensorInfo& info) const {
  return impl_->file->bytes().subspan(impl_->listing.data_offset + info.begin, info.end - info.begin);
}

Tensor TensorFile::stored(const TensorInfo& info) const {
  const std::span<const std::byte> bytes = stored_bytes(info);
  return Tensor::wrap(const_cast<std::byte*>(bytes.data()), DType::u8, {static_cast<int64_t>(bytes.size())},
                      std::const_pointer_cast<MappedFile>(impl_->file));
}

namespace {

// Copies elements of `size` bytes out of a view with strides, in row-major order from position `begin` on.
void gather(const std::byte* source, const TensorInfo& info, int64_t begin, int64_t count, std::byte* out) {
  const auto size = static_cast<size_t>(size_of(info.dtype));
  const int rank = info.shape.rank();
  int64_t index[kMaxRank] = {}, offset = 0;
  for (int axis = rank; axis-- > 0; begin /= info.shape[axis]) {
    index[axis] = begin % info.shape[axis];
    offset += index[axis] * info.strides[axis];
  }
  for (int64_t i = 0; i < count; ++i, out += size) {
    std::memcpy(out, source + static_cast<size_t>(offset) * size, size);
    for (int axis = rank; axis-- > 0;) {
      offset += info.strides[axis];
      if (++index[axis] < info.shape[axis]) break;
      offset -= index[axis] * info.strides[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace

Tensor TensorFile::tensor(std::string_view name) const {
  const TensorInfo* info = find(name);
  if (!info)
    fail(ErrorCode::io, "{}: expected a tensor '{}', found none of that name", printable(path(), 300), printable(name));
  const std::byte* data = stored_bytes(*info).data();
  if (info->packed()) {
    const Tensor out = Tensor::empty(DType::f32, info->shape);
    dequantize(info->format, data, out.data<float>(), out.numel());
    return out;
  }
  if (info->scaled()) {
    const Tensor out = Tensor::empty(DType::f32, info->shape);
    read_f32(*info, 0, out.numel(), out.data<float>());
    return out;
  }
  if (!info->strides.empty()) {
    const Tensor out = Tensor::empty(info->dtype, info->shape);
    gather(data, *info, 0, out.numel(), out.raw());
    return out;
  }
  return Tensor::wrap(const_cast<std::byte*>(data), info->dtype, info->shape,
                      std::const_pointer_cast<MappedFile>(impl_->file));
}

void TensorFile::read_f32(const TensorInfo& info, int64_t begin, int64_t count, float* out) const {
  const std::byte* data = stored_bytes(info).data();
  if (info.packed()) {
    const int64_t blocks = begin / block_elements(info.format);
    dequantize(info.format, data + blocks * block_bytes(info.format), out, count);
  } else if (!info.strides.empty()) {
    std::vector<std::byte> row(static_cast<size_t>(count * size_of(info.dtype)));
    gather(data, info, begin, count, row.data());
    convert_to_f32(row.data(), info.dtype, out, count);
  } else {
    convert_to_f32(data + begin * size_of(info.dtype), info.dtype, out, count);
  }
  if (!info.scaled()) return;
  const auto rows = static_cast<int64_t>(info.scales.size()), row = std::max<int64_t>(1, info.shape.numel() / rows);
  for (int64_t i = 0; i < count; ++i) out[i] *= info.scales[static_cast<size_t>((begin + i) / row)];
}

void TensorFile::release_pages(const TensorInfo& info, int64_t begin, int64_t count) const {
  if (!info.strides.empty()) return;
  const auto bytes = [&](int64_t elements) {
    return static_cast<uint64_t>(info.packed() ? elements / block_elements(info.format) * block_bytes(info.format)
                                               : elements * size_of(info.dtype));
  };
  const uint64_t base = impl_->listing.data_offset + info.begin;
  impl_->file->release(base + bytes(begin), base + bytes(begin + count));
}

void TensorFile::release_pages(std::string_view name) const {
  const uint64_t base = impl_->listing.data_offset;
  if (const TensorInfo* info = find(name)) impl_->file->release(base + info->begin, base + info->end);
}

}  // namespace easel::io
