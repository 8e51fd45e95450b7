#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fail.h"
#include "io/atomic_file.h"
#include "io/dtype_names.h"
#include "io/safetensors.h"

namespace easel::io {

namespace {

constexpr uint64_t kDataAlignment = 64;

}  // namespace

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<Declaration> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : tensors_(std::move(tensors)) {
  std::set<std::string_view> names;
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const Declaration& tensor : tensors_) {
    const bool clean = std::none_of(tensor.name.begin(), tensor.name.end(),
                                    [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
    if (!clean || tensor.name.empty() || tensor.name == "__metadata__" || !names.insert(tensor.name).second)
      fail(ErrorCode::invalid_argument, "{}: tensor '{}': expected a new name without control characters",
           printable(path, 300), printable(tensor.name));
    int64_t bytes = 0;
    uint64_t end = 0;
    if (__builtin_mul_overflow(tensor.shape.numel(), size_of(tensor.dtype), &bytes) ||
        __builtin_add_overflow(total_, static_cast<uint64_t>(bytes), &end))
      fail(ErrorCode::invalid_argument, "{}: tensor '{}': shape {}: the number of bytes overflows 64 bits",
           printable(path, 300), printable(tensor.name), tensor.shape.str());
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())},
                           {"data_offsets", {total_, end}}};
    total_ = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::invalid_argument, "{}: expected names and metadata in UTF-8, found other bytes",
         printable(path, 300));
  }
  while ((8 + text.size()) % kDataAlignment != 0) text += ' ';
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i) & 0xff);
  file_ = std::make_unique<AtomicFile>(path);
  file_->write(std::string_view(length, 8));
  file_->write(text);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(const Tensor& tensor) {
  if (next_ >= tensors_.size())
    fail(ErrorCode::invalid_argument, "{}: more tensors written than declared", printable(file_->path(), 300));
  const Declaration& declared = tensors_[next_];
  if (tensor.dtype() != declared.dtype || !(tensor.shape() == declared.shape))
    fail(ErrorCode::invalid_argument, "{}: tensor '{}': declared {} {}, written {} {}", printable(file_->path(), 300),
         printable(declared.name), to_string(declared.dtype), declared.shape.str(), to_string(tensor.dtype()),
         tensor.shape().str());
  if (!tensor.contiguous())
    fail(ErrorCode::invalid_argument, "{}: tensor '{}': expected contiguous memory", printable(file_->path(), 300),
         printable(declared.name));
  ++next_;
  write_bytes({tensor.raw(), static_cast<size_t>(tensor.bytes())});
}

void SafetensorsWriter::write_bytes(std::span<const std::byte> bytes) {
  if (bytes.size() > total_ - written_)
    fail(ErrorCode::invalid_argument, "{}: expected {} bytes of data in all, {} were written",
         printable(file_->path(), 300), total_, written_ + bytes.size());
  written_ += bytes.size();
  file_->write(bytes);
}

void SafetensorsWriter::finish() {
  if (written_ != total_)
    fail(ErrorCode::invalid_argument, "{}: expected {} bytes of data in all, {} were written",
         printable(file_->path(), 300), total_, written_);
  file_->commit();
}

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  for (const auto& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const auto* tensor : order)
    declarations.push_back({tensor->first, tensor->second.dtype(), tensor->second.shape()});
  SafetensorsWriter writer(path, std::move(declarations), metadata);
  for (const auto* tensor : order) writer.write(tensor->second);
  writer.finish();
}

}  // namespace easel::io
