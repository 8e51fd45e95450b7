#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/fail.h"
#include "io/dtype_names.h"
#include "io/safetensors.h"

namespace easel::io {

namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // as the reference implementation

/// Reads the header event by event: its depth is fixed, so nesting costs nothing, and repeated keys are seen.
class HeaderReader {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  HeaderReader(std::string_view where, SafetensorsHeader& header) : where_(where), header_(header) {}

  bool null() { unexpected("null"); }
  bool boolean(bool) { unexpected("a boolean"); }
  bool number_integer(number_integer_t value) { unexpected(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) { unexpected(text); }
  bool binary(binary_t&) { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) {
    if (state_ == State::shape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) unexpected(std::to_string(value));
      if (current_.shape.rank() == kMaxRank)
        fail(ErrorCode::io, "{}: expected at most {} dimensions, found more", subject(), kMaxRank);
      current_.shape.push_back(static_cast<int64_t>(value));
    } else if (state_ == State::offsets) {
      if (offsets_ == 2) fail(ErrorCode::io, "{}: expected two data_offsets, found more", subject());
      (offsets_++ == 0 ? current_.begin : current_.end) = value;
    } else {
      unexpected(std::to_string(value));
    }
    return true;
  }

  bool string(string_t& value) {
    if (state_ == State::metadata) {
      header_.metadata[metadata_key_] = value;
    } else if (state_ == State::entry && field_ == Field::dtype) {
      const auto dtype = dtype_from_name(value);
      if (!dtype) fail(ErrorCode::io, "{}: expected a dtype such as F32, found '{}'", subject(), printable(value));
      current_.dtype = *dtype;
      field_ = Field::none;
    } else {
      unexpected("'" + printable(value) + "'");
    }
    return true;
  }

  bool start_object(size_t) {
    if (state_ == State::begin)
      state_ = State::top;
    else if (state_ == State::value)
      state_ = metadata_ ? State::metadata : State::entry;
    else
      unexpected("an object");
    return true;
  }

  bool key(string_t& value) {
    if (state_ == State::top) {
      if (!names_.insert(value).second) fail(ErrorCode::io, "{}: '{}' occurs twice", where_, printable(value));
      for (const char c : value)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
          fail(ErrorCode::io, "{}: tensor '{}': expected a name without control characters", where_, printable(value));
      metadata_ = value == "__metadata__";
      current_ = {};
      current_.name = value;
      seen_ = 0;
      offsets_ = 0;
      state_ = State::value;
    } else if (state_ == State::metadata) {
      if (header_.metadata.contains(value))
        fail(ErrorCode::io, "{}: __metadata__: key '{}' occurs twice", where_, printable(value));
      metadata_key_ = value;
    } else {
      field_ = value == "dtype"          ? Field::dtype
               : value == "shape"        ? Field::shape
               : value == "data_offsets" ? Field::offsets
                                         : Field::none;
      if (field_ == Field::none)
        fail(ErrorCode::io, "{}: expected dtype, shape and data_offsets, found '{}'", subject(), printable(value));
      const unsigned bit = 1u << static_cast<unsigned>(field_);
      if (seen_ & bit) fail(ErrorCode::io, "{}: key '{}' occurs twice", subject(), value);
      seen_ |= bit;
    }
    return true;
  }

  bool end_object() {
    if (state_ == State::entry) {
      for (const auto& [field, name] :
           {std::pair{Field::dtype, "dtype"}, {Field::shape, "shape"}, {Field::offsets, "data_offsets"}})
        if (!(seen_ & (1u << static_cast<unsigned>(field))))
          fail(ErrorCode::io, "{}: expected the key '{}', found none", subject(), name);
      header_.tensors.push_back(std::move(current_));
    }
    state_ = state_ == State::top ? State::done : State::top;
    return true;
  }

  bool start_array(size_t) {
    if (state_ == State::entry && field_ == Field::shape)
      state_ = State::shape;
    else if (state_ == State::entry && field_ == Field::offsets)
      state_ = State::offsets;
    else
      unexpected("a list");
    return true;
  }

  bool end_array() {
    if (state_ == State::offsets && offsets_ != 2)
      fail(ErrorCode::io, "{}: expected two data_offsets, found {}", subject(), offsets_);
    state_ = State::entry;
    field_ = Field::none;
    return true;
  }

  bool parse_error(size_t position, const std::string& last, const nlohmann::json::exception&) {
    fail(ErrorCode::io, "{}: header: expected JSON, found an error at byte {} near '{}'", where_, position,
         printable(last, 40));
  }

 private:
  enum class State { begin, top, value, metadata, entry, shape, offsets, done };
  enum class Field : unsigned { dtype, shape, offsets, none };

  std::string subject() const { return fmt::format("{}: tensor '{}'", where_, printable(current_.name)); }

  [[noreturn]] void unexpected(std::string_view found) const {
    switch (state_) {
      case State::begin: fail(ErrorCode::io, "{}: header: expected an object, found {}", where_, found);
      case State::value:
        fail(ErrorCode::io, "{}: '{}': expected an object, found {}", where_, printable(current_.name), found);
      case State::metadata:
        fail(ErrorCode::io, "{}: __metadata__: key '{}': expected a string, found {}", where_, printable(metadata_key_),
             found);
      case State::shape: fail(ErrorCode::io, "{}: shape: expected sizes below 2^63, found {}", subject(), found);
      case State::offsets: fail(ErrorCode::io, "{}: data_offsets: expected byte counts, found {}", subject(), found);
      default: break;
    }
    if (field_ == Field::dtype) fail(ErrorCode::io, "{}: dtype: expected a string, found {}", subject(), found);
    fail(ErrorCode::io, "{}: {}: expected a list of numbers, found {}", subject(),
         field_ == Field::shape ? "shape" : "data_offsets", found);
  }

  std::string where_;
  SafetensorsHeader& header_;
  std::unordered_set<std::string> names_;
  State state_ = State::begin;
  Field field_ = Field::none;
  bool metadata_ = false;
  std::string metadata_key_;
  TensorInfo current_;
  unsigned seen_ = 0;
  int offsets_ = 0;
};

/// Bytes of a tensor. Zero sizes do not excuse an overflow among the others: strides are computed from them too.
uint64_t byte_size(const TensorInfo& tensor, const std::string& where) {
  int64_t product = size_of(tensor.dtype);
  bool empty = false;
  for (const int64_t dim : tensor.shape) {
    empty |= dim == 0;
    if (dim != 0 && __builtin_mul_overflow(product, dim, &product))
      fail(ErrorCode::io, "{}: tensor '{}': shape {}: the number of bytes overflows 64 bits", where,
           printable(tensor.name), tensor.shape.str());
  }
  return empty ? 0 : static_cast<uint64_t>(product);
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, uint64_t file_size,
                                           std::string_view where_view) {
  const std::string where = printable(where_view, 300);
  if (file_size < 8 || bytes.size() < 8)
    fail(ErrorCode::io, "{}: expected a safetensors file of at least 8 bytes, found {}", where, file_size);
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  if (length > kMaxHeader)
    fail(ErrorCode::io, "{}: expected a header of at most {} bytes, found {} (is it a safetensors file?)", where,
         kMaxHeader, length);
  if (length > file_size - 8 || length > bytes.size() - 8)
    fail(ErrorCode::io, "{}: expected a header of {} bytes, found only {} bytes after its length", where, length,
         file_size - 8);
  const char* text = reinterpret_cast<const char*>(bytes.data()) + 8;
  if (length == 0 || *text != '{')
    fail(ErrorCode::io, "{}: header: expected an object beginning with '{{', found {}", where,
         length == 0 ? "nothing" : "something else");

  SafetensorsHeader header;
  header.data_offset = 8 + length;
  HeaderReader reader(where, header);
  nlohmann::json::sax_parse(text, text + length, &reader);

  const uint64_t data_size = file_size - header.data_offset;
  for (const TensorInfo& tensor : header.tensors) {
    const std::string name = printable(tensor.name);
    if (tensor.begin > tensor.end)
      fail(ErrorCode::io, "{}: tensor '{}': data_offsets: expected begin ≤ end, found {} and {}", where, name,
           tensor.begin, tensor.end);
    if (tensor.end > data_size)
      fail(ErrorCode::io, "{}: tensor '{}': expected data up to byte {}, found only {} bytes (truncated?)", where, name,
           tensor.end, data_size);
    const uint64_t size = byte_size(tensor, where);
    if (size != tensor.end - tensor.begin)
      fail(ErrorCode::io, "{}: tensor '{}': expected {} bytes for {} {}, found {}", where, name, size,
           dtype_name(tensor.dtype), tensor.shape.str(), tensor.end - tensor.begin);
  }
  std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  uint64_t reached = 0;
  for (const TensorInfo& tensor : header.tensors) {
    if (tensor.begin != reached)
      fail(ErrorCode::io, "{}: tensor '{}': expected its data to begin at byte {}, found {} ({})", where,
           printable(tensor.name), reached, tensor.begin, tensor.begin < reached ? "overlap" : "gap");
    reached = tensor.end;
  }
  if (reached != data_size) fail(ErrorCode::io, "{}: expected {} bytes of data, found {}", where, reached, data_size);
  return header;
}

}  // namespace easel::io
