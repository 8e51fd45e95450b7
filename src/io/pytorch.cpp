#include "io/pytorch.h"

#include <algorithm>

#include "base/fail.h"
#include "io/pickle.h"
#include "io/zip_archive.h"

namespace easel::io {

namespace {

// The first pickle of the legacy layout: 0x1950a86a20f9469cfc6c as a little-endian number.
constexpr std::string_view kLegacyMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kLegacyProtocol = 1001;

using StorageRange = std::pair<uint64_t, uint64_t>;  // begin and size in the file, in bytes
using Storages = std::map<std::string, StorageRange>;

// Elements from the first to the last one that the tensor touches; 0 for an empty tensor.
uint64_t extent(const PickledTensor& tensor, const std::string& where) {
  uint64_t last = 0;
  bool empty = false;
  for (int i = 0; i < tensor.shape.rank(); ++i) {
    const auto dim = static_cast<uint64_t>(tensor.shape[i]), stride = static_cast<uint64_t>(tensor.strides[i]);
    uint64_t step = 0;
    empty |= dim == 0;
    if (dim > 1 && (__builtin_mul_overflow(dim - 1, stride, &step) || __builtin_add_overflow(last, step, &last)))
      fail(ErrorCode::io, "{}: tensor '{}': size {} and stride {} overflow 64 bits", where, printable(tensor.name),
           tensor.shape.str(), tensor.strides.str());
  }
  return empty ? 0 : last + 1;
}

uint64_t elements(const PickledTensor& tensor, const std::string& where) {
  uint64_t product = 1;
  bool empty = false;
  for (const int64_t dim : tensor.shape) {
    empty |= dim == 0;
    if (dim != 0 && __builtin_mul_overflow(product, static_cast<uint64_t>(dim), &product))
      fail(ErrorCode::io, "{}: tensor '{}': size {}: the number of elements overflows 64 bits", where,
           printable(tensor.name), tensor.shape.str());
  }
  if (product > (uint64_t{1} << 59))  // so that byte counts and strides of it stay in 64 bits
    fail(ErrorCode::io, "{}: tensor '{}': size {}: more elements than any file holds", where, printable(tensor.name),
         tensor.shape.str());
  return empty ? 0 : product;
}

TensorListing list_tensors(Container container, const Pickle& pickle, const Storages& storages,
                           const std::string& where) {
  TensorListing out;
  out.container = container;
  out.metadata = pickle.scalars();
  for (const PickledTensor& tensor : pickle.named_tensors(where)) {
    const std::string name = printable(tensor.name);
    const auto found = storages.find(tensor.storage);
    if (found == storages.end())
      fail(ErrorCode::io, "{}: tensor '{}': its storage '{}' is missing", where, name, printable(tensor.storage));
    const auto [begin, size] = found->second;
    if (tensor.storage_bytes > size)
      fail(ErrorCode::io, "{}: tensor '{}': expected a storage of {} bytes, found {} (truncated?)", where, name,
           tensor.storage_bytes, size);
    const auto element = static_cast<uint64_t>(size_of(tensor.dtype));
    const uint64_t available = tensor.storage_bytes / element, count = elements(tensor, where);
    const uint64_t touched = extent(tensor, where);
    if (tensor.offset > available || touched > available - tensor.offset)
      fail(ErrorCode::io, "{}: tensor '{}': size {}, stride {} and offset {} reach outside its storage of {} elements",
           where, name, tensor.shape.str(), tensor.strides.str(), tensor.offset, available);
    // Strides of zero repeat elements: a small file could stand for any amount of memory.
    if (count > touched)
      fail(ErrorCode::io, "{}: tensor '{}': size {} has more elements than the {} it is stored in", where, name,
           tensor.shape.str(), touched);
    TensorInfo info;
    info.name = tensor.name;
    info.dtype = tensor.dtype;
    info.shape = tensor.shape;
    info.begin = begin + tensor.offset * element;
    info.end = info.begin + touched * element;
    bool row_major = true;  // strides of axes of one element do not matter
    int64_t expected = 1;
    for (int axis = info.shape.rank(); axis-- > 0;) {
      if (info.shape[axis] != 1 && tensor.strides[axis] != expected) row_major = false;
      expected *= info.shape[axis];
    }
    if (!row_major && count > 0) info.strides = tensor.strides;
    out.tensors.push_back(std::move(info));
  }
  if (out.tensors.empty()) fail(ErrorCode::io, "{}: expected tensors, found none", where);
  std::stable_sort(out.tensors.begin(), out.tensors.end(),
                   [](const TensorInfo& a, const TensorInfo& b) { return a.begin < b.begin; });
  return out;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

bool looks_like_pickle(std::span<const std::byte> bytes) {
  const std::string_view text = as_text(bytes.first(std::min<size_t>(bytes.size(), 9)));
  if (text.size() < 2) return false;
  // A safetensors file begins with a length below 2^27 and the brace of its header.
  if (text.size() == 9 && text.substr(4) == std::string_view("\0\0\0\0{", 5)) return false;
  if (text[0] == '\x80') return text[1] >= 1 && text[1] <= 5;  // PROTO and its version
  // Protocols 0 and 1 have no such mark: what they begin with here is a container or an import.
  return std::string_view("(}]c").find(text[0]) != std::string_view::npos;
}

TensorListing read_pytorch_zip(std::span<const std::byte> bytes, std::string_view where_view) {
  const std::string where = printable(where_view, 300);
  const std::map<std::string, ZipEntry> entries = read_zip_directory(bytes, where_view);
  // Everything lies in one folder, named after the file that was saved.
  std::string folder;
  const ZipEntry* pickle_entry = nullptr;
  for (const auto& [name, entry] : entries) {
    const size_t slash = name.find('/');
    if (slash == std::string::npos || name.substr(slash + 1) != "data.pkl") continue;
    if (pickle_entry) fail(ErrorCode::io, "{}: expected one data.pkl, found two", where);
    folder = name.substr(0, slash + 1);
    pickle_entry = &entry;
  }
  if (!pickle_entry)
    fail(ErrorCode::io, "{}: expected a PyTorch checkpoint, found a zip archive without data.pkl", where);
  if (entries.contains(folder + "constants.pkl"))
    fail(ErrorCode::io, "{}: found a TorchScript program, which would have to be run; expected a checkpoint of tensors",
         where);
  if (const auto order = entries.find(folder + "byteorder");
      order != entries.end() && as_text(bytes.subspan(order->second.begin, order->second.size)) != "little")
    fail(ErrorCode::io, "{}: expected little-endian numbers, found '{}'", where,
         printable(as_text(bytes.subspan(order->second.begin, order->second.size)), 20));

  const Pickle pickle(bytes.subspan(pickle_entry->begin, pickle_entry->size), where_view);
  Storages storages;
  const std::string prefix = folder + "data/";
  for (auto it = entries.lower_bound(prefix); it != entries.end() && it->first.starts_with(prefix); ++it)
    storages[it->first.substr(prefix.size())] = {it->second.begin, it->second.size};
  return list_tensors(Container::pytorch_zip, pickle, storages, where);
}

TensorListing read_pytorch_legacy(std::span<const std::byte> bytes, std::string_view where_view) {
  const std::string where = printable(where_view, 300);
  size_t at = 0;
  const auto next = [&] {
    Pickle pickle(bytes.subspan(at), where_view);
    at += pickle.size();
    return pickle;
  };
  const Pickle magic = next();
  if (magic.root().kind != Pickle::Kind::big_integer || magic.root().text != kLegacyMagic)
    fail(ErrorCode::io, "{}: expected a checkpoint of torch.save, found another pickle; nothing in it was run", where);
  const Pickle protocol = next();
  if (protocol.root().kind != Pickle::Kind::integer || protocol.root().integer != kLegacyProtocol)
    fail(ErrorCode::io, "{}: expected version {} of PyTorch's legacy layout, found another", where, kLegacyProtocol);
  const Pickle system = next();
  const Pickle::Node* little = system.find(system.root(), "little_endian");
  if (!little || little->kind != Pickle::Kind::boolean || !little->integer)
    fail(ErrorCode::io, "{}: expected little-endian numbers, found others", where);

  const Pickle pickle = next();
  const Pickle keys = next();
  if (keys.root().kind != Pickle::Kind::list)
    fail(ErrorCode::io, "{}: expected a list of storages after the tensors, found another value", where);
  const std::map<std::string, uint64_t> element_bytes = pickle.storage_element_bytes();
  Storages storages;
  for (const uint32_t item : keys.root().items) {
    const Pickle::Node& key = keys.node(item);
    if (key.kind != Pickle::Kind::text) fail(ErrorCode::io, "{}: expected texts as keys of storages", where);
    const std::string name(key.text);
    const auto element = element_bytes.find(name);
    if (element == element_bytes.end())
      fail(ErrorCode::io, "{}: storage '{}' belongs to no tensor", where, printable(name));
    if (bytes.size() - at < 8) fail(ErrorCode::io, "{}: storage '{}' is missing (truncated?)", where, printable(name));
    uint64_t count = 0, size = 0;
    for (size_t i = 8; i-- > 0;) count = count << 8 | std::to_integer<uint64_t>(bytes[at + i]);
    at += 8;
    if (__builtin_mul_overflow(count, element->second, &size) || size > bytes.size() - at)
      fail(ErrorCode::io, "{}: storage '{}': expected {} elements of {} bytes, found {} bytes (truncated?)", where,
           printable(name), count, element->second, bytes.size() - at);
    if (!storages.emplace(name, StorageRange{at, size}).second)
      fail(ErrorCode::io, "{}: storage '{}' occurs twice", where, printable(name));
    at += size;
  }
  return list_tensors(Container::pytorch_legacy, pickle, storages, where);
}

}  // namespace easel::io
