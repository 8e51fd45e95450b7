#include <algorithm>
#include <bit>
#include <unordered_set>

#include "base/fail.h"
#include "io/byte_cursor.h"
#include "io/gguf.h"
#include "io/gguf_types.h"

namespace easel::io {

namespace {

constexpr std::string_view kOriginalShape = "comfy.gguf.orig_shape.";
constexpr uint64_t kMaxCount = 1'000'000;  // of tensors, and of keys
constexpr int kMaxNesting = 4;
constexpr uint64_t kShownItems = 8;

constexpr unsigned kValueBytes[kGgufTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
constexpr std::string_view kValueNames[kGgufTypes] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                      "bool", "string", "array", "u64", "i64", "f64"};

class Reader : ByteCursor<Reader> {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view where) : ByteCursor(bytes), where_(printable(where, 300)) {}

  TensorListing read() {
    out_.container = Container::gguf;
    const std::string_view magic = take(4);
    if (magic == "FUGG") refuse("expected little-endian numbers, found a big-endian file");
    const auto version = static_cast<uint32_t>(number(4));
    if (magic == "GGUF" && version >= 0x10000) refuse("expected little-endian numbers, found a big-endian file");
    if (magic != "GGUF" || version < 2 || version > 3)
      refuse("expected GGUF of version 2 or 3, found version {}", version);
    const uint64_t tensors = number(8), keys = number(8);
    // The least that a description takes: 24 bytes of a tensor, 13 of a key.
    if (tensors > kMaxCount || tensors > left() / 24)
      refuse("expected as many tensors as the file can hold, found a count of {}", tensors);
    if (keys > kMaxCount || keys > left() / 13)
      refuse("expected as many keys as the file can hold, found a count of {}", keys);
    for (uint64_t i = 0; i < keys; ++i) read_key();
    for (uint64_t i = 0; i < tensors; ++i) read_tensor();
    place();
    return std::move(out_);
  }

 private:
  friend ByteCursor;
  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::io, "{}: GGUF, byte {}: {}", where_, at(), fmt::format(format, std::forward<Args>(args)...));
  }

  std::string_view text() { return take(number(8)); }

  // One value as text; whole numbers of a list also into `integers`.
  std::string value(uint32_t type, int nesting, std::vector<int64_t>* integers) {
    switch (static_cast<GgufType>(type)) {
      case GgufType::string: return std::string(text());
      case GgufType::boolean: return number(1) ? "true" : "false";
      case GgufType::f32: return fmt::format("{}", std::bit_cast<float>(static_cast<uint32_t>(number(4))));
      case GgufType::f64: return fmt::format("{}", std::bit_cast<double>(number(8)));
      case GgufType::u8:
      case GgufType::u16:
      case GgufType::u32:
      case GgufType::u64: {
        const uint64_t unsigned_value = number(kValueBytes[type]);
        if (integers) integers->push_back(static_cast<int64_t>(unsigned_value));
        return std::to_string(unsigned_value);
      }
      case GgufType::i8:
      case GgufType::i16:
      case GgufType::i32:
      case GgufType::i64: {
        const unsigned unused = 64 - 8 * kValueBytes[type];
        const int64_t signed_value = static_cast<int64_t>(number(kValueBytes[type]) << unused) >> unused;
        if (integers) integers->push_back(signed_value);
        return std::to_string(signed_value);
      }
      case GgufType::array: return list(nesting, integers);
    }
    refuse("expected a type of metadata from 0 to {}, found {}", kGgufTypes - 1, type);
  }

  std::string list(int nesting, std::vector<int64_t>* integers) {
    if (nesting >= kMaxNesting) refuse("expected lists nested at most {} deep, found more", kMaxNesting);
    const auto type = static_cast<uint32_t>(number(4));
    const uint64_t count = number(8);
    if (type >= kGgufTypes) refuse("expected a type of metadata from 0 to {}, found {}", kGgufTypes - 1, type);
    const uint64_t least = static_cast<GgufType>(type) == GgufType::array    ? 12
                           : static_cast<GgufType>(type) == GgufType::string ? 8
                                                                             : kValueBytes[type];
    if (count > left() / least) refuse("expected as many items as the file can hold, found a count of {}", count);
    std::string out = fmt::format("[{} × {}]", count, kValueNames[type]);
    if (kValueBytes[type] > 0 && count > kShownItems) {  // a vocabulary of scores, say
      for (uint64_t i = 0; i < kShownItems; ++i) out += (i ? ", " : " ") + value(type, nesting + 1, nullptr);
      take((count - kShownItems) * kValueBytes[type]);
      return out + ", …";
    }
    for (uint64_t i = 0; i < count; ++i) {
      const std::string item = value(type, nesting + 1, i < kMaxRank ? integers : nullptr);
      if (i < kShownItems) out += (i ? ", " : " ") + printable(item, 200);
    }
    return count > kShownItems ? out + ", …" : out;
  }

  void read_key() {
    const std::string key(text());
    const auto type = static_cast<uint32_t>(number(4));
    std::vector<int64_t> integers;
    const bool fresh = out_.metadata.emplace(key, value(type, 0, &integers)).second;
    if (!fresh) refuse("key '{}' occurs twice", printable(key));
    if (key == "general.alignment") {
      if (integers.size() != 1 || integers[0] < 8 || integers[0] > 1 << 20 || (integers[0] & (integers[0] - 1)) != 0)
        refuse("key 'general.alignment': expected a power of two from 8 to 1048576, found {}", out_.metadata[key]);
      alignment_ = static_cast<uint64_t>(integers[0]);
    }
    if (key.starts_with(kOriginalShape)) original_shapes_[key.substr(kOriginalShape.size())] = integers;
  }

  void read_tensor() {
    TensorInfo info;
    info.name = text();
    const std::string shown = printable(info.name);
    for (const char c : info.name)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        refuse("tensor '{}': expected a name without control characters", shown);
    if (info.name.empty() || !names_.insert(info.name).second) refuse("tensor '{}': expected a new name", shown);
    const auto rank = static_cast<uint32_t>(number(4));
    if (rank > kMaxRank) refuse("tensor '{}': expected at most {} dimensions, found {}", shown, kMaxRank, rank);
    int64_t dims[kMaxRank] = {}, elements = 1;
    for (uint32_t i = 0; i < rank; ++i) {
      const uint64_t dim = number(8);
      // 2^59, so that every count of bytes stays in 64 bits.
      if (dim > uint64_t{1} << 59 ||
          __builtin_mul_overflow(elements, static_cast<int64_t>(std::max<uint64_t>(dim, 1)), &elements) ||
          elements > int64_t{1} << 59)
        refuse("tensor '{}': the number of elements overflows 64 bits", shown);
      dims[rank - 1 - i] = static_cast<int64_t>(dim);
    }
    info.shape = Shape(std::span<const int64_t>(dims, rank));
    const auto type = static_cast<uint32_t>(number(4));
    const auto* row =
        std::find_if(std::begin(kGgmlTypes), std::end(kGgmlTypes), [&](const GgmlType& t) { return t.number == type; });
    if (row == std::end(kGgmlTypes)) refuse("tensor '{}': expected a type of ggml, found {}", shown, type);
    if (!row->read) refuse("tensor '{}': tensors of type {} are not read", shown, row->name);
    info.dtype = row->dtype;
    info.format = row->format;
    if (info.packed() && (rank == 0 || info.shape.back() % block_elements(info.format) != 0))
      refuse("tensor '{}': expected rows of whole {} blocks of {}, found shape {}", shown, row->name,
             block_elements(info.format), info.shape.str());
    info.begin = number(8);
    if (info.begin % alignment_ != 0)
      refuse("tensor '{}': expected an offset that is a multiple of {}, found {}", shown, alignment_, info.begin);
    info.end = encoded_bytes(info.dtype, info.format, info.shape);
    if (__builtin_add_overflow(info.begin, info.end, &info.end))
      refuse("tensor '{}': its offset of {} overflows 64 bits", shown, info.begin);
    out_.tensors.push_back(std::move(info));
  }

  void place() {
    const uint64_t size = at() + left(), data = (at() + alignment_ - 1) / alignment_ * alignment_;
    const uint64_t available = size > data ? size - data : 0;
    out_.data_offset = std::min(data, size);
    std::stable_sort(out_.tensors.begin(), out_.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    uint64_t reached = 0;
    for (TensorInfo& info : out_.tensors) {
      const std::string shown = printable(info.name);
      if (info.end > available)
        refuse("tensor '{}': expected data up to byte {}, found only {} bytes (truncated?)", shown, info.end,
               available);
      if (info.begin < reached) refuse("tensor '{}': its data overlaps another's", shown);
      reached = info.end;
      const auto found = original_shapes_.find(info.name);
      if (found == original_shapes_.end()) continue;
      Shape original;
      int64_t elements = 1;
      for (const int64_t dim : found->second) {
        if (dim < 0 || __builtin_mul_overflow(elements, dim, &elements)) elements = -1;
        if (elements < 0) break;
        original.push_back(dim);
      }
      if (elements != info.shape.numel())
        refuse("key '{}{}': expected a shape of {} elements, found {}", kOriginalShape, shown, info.shape.numel(),
               out_.metadata[std::string(kOriginalShape) + info.name]);
      info.shape = original;
    }
    // They describe tensors, and would be in the way of what describes the file.
    for (const auto& [name, shape] : original_shapes_) out_.metadata.erase(std::string(kOriginalShape) + name);
  }

  std::string where_;
  uint64_t alignment_ = kGgufAlignment;
  TensorListing out_;
  std::unordered_set<std::string> names_;
  std::map<std::string, std::vector<int64_t>> original_shapes_;
};

}  // namespace

TensorListing read_gguf(std::span<const std::byte> bytes, std::string_view where) {
  return Reader(bytes, where).read();
}

uint64_t encoded_bytes(DType dtype, BlockFormat format, const Shape& shape) {
  const auto elements = static_cast<uint64_t>(shape.numel());
  if (format == BlockFormat::none) return elements * static_cast<uint64_t>(size_of(dtype));
  return elements / static_cast<uint64_t>(block_elements(format)) * static_cast<uint64_t>(block_bytes(format));
}

}  // namespace easel::io
