#include <algorithm>
#include <set>

#include "base/fail.h"
#include "io/atomic_file.h"
#include "io/gguf.h"
#include "io/gguf_types.h"

namespace easel::io {

namespace {

constexpr size_t kMaxName = 127;  // what readers of pictures' models take
constexpr int kMaxGgufRank = 4;

void put(std::string& out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}
void put(std::string& out, std::string_view text) {
  put(out, text.size(), 8);
  out += text;
}

void put_value(std::string& out, const GgufValue& value) {
  const auto type = [&](GgufType t) { put(out, static_cast<uint64_t>(t), 4); };
  if (const auto* text = std::get_if<std::string>(&value)) {
    type(GgufType::string);
    put(out, *text);
  } else if (const auto* number = std::get_if<uint32_t>(&value)) {
    type(GgufType::u32);
    put(out, *number, 4);
  } else {
    const auto& list = std::get<std::vector<int32_t>>(value);
    type(GgufType::array);
    type(GgufType::i32);
    put(out, list.size(), 8);
    for (const int32_t item : list) put(out, static_cast<uint32_t>(item), 4);
  }
}

uint64_t aligned(uint64_t bytes) { return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment; }

}  // namespace

GgufWriter::GgufWriter(const std::string& path, std::vector<Declaration> tensors,
                       const std::map<std::string, GgufValue>& metadata) {
  const std::string where = printable(path, 300);
  std::string head = "GGUF";
  put(head, 3, 4);
  put(head, tensors.size(), 8);
  put(head, metadata.size(), 8);
  for (const auto& [key, value] : metadata) {
    put(head, key);
    put_value(head, value);
  }
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (Declaration& tensor : tensors) {
    const std::string name = printable(tensor.name);
    if (tensor.name.empty() || tensor.name.size() > kMaxName || !names.insert(tensor.name).second)
      fail(ErrorCode::invalid_argument, "{}: tensor '{}': expected a new name of at most {} bytes", where, name,
           kMaxName);
    const auto* row = std::find_if(std::begin(kGgmlTypes), std::end(kGgmlTypes), [&](const GgmlType& t) {
      return t.read && t.format == tensor.format && (t.format != BlockFormat::none || t.dtype == tensor.dtype);
    });
    if (row == std::end(kGgmlTypes))
      fail(ErrorCode::invalid_argument, "{}: tensor '{}': GGUF has no type for {}", where, name,
           to_string(tensor.dtype));
    if (tensor.shape.empty()) tensor.shape = {1};
    if (tensor.shape.rank() > kMaxGgufRank)
      fail(ErrorCode::invalid_argument, "{}: tensor '{}': expected at most {} dimensions, found shape {}", where, name,
           kMaxGgufRank, tensor.shape.str());
    if (tensor.shape.back() % block_elements(tensor.format) != 0)
      fail(ErrorCode::invalid_argument, "{}: tensor '{}': expected rows of whole {} blocks of {}, found shape {}",
           where, name, row->name, block_elements(tensor.format), tensor.shape.str());
    put(head, tensor.name);
    put(head, static_cast<uint64_t>(tensor.shape.rank()), 4);
    for (int axis = tensor.shape.rank(); axis-- > 0;) put(head, static_cast<uint64_t>(tensor.shape[axis]), 8);
    put(head, row->number, 4);
    put(head, offset, 8);
    sizes_.push_back(encoded_bytes(tensor.dtype, tensor.format, tensor.shape));
    offset += aligned(sizes_.back());
  }
  head.resize(aligned(head.size()), '\0');
  file_ = std::make_unique<AtomicFile>(path);
  file_->write(head);
}

GgufWriter::~GgufWriter() = default;

void GgufWriter::pad() {
  while (tensor_ < sizes_.size() && written_ == sizes_[tensor_]) {
    static constexpr char kZeros[kGgufAlignment] = {};
    file_->write(std::string_view(kZeros, aligned(written_) - written_));
    ++tensor_;
    written_ = 0;
  }
}

void GgufWriter::write_bytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    pad();  // tensors without elements
    if (tensor_ >= sizes_.size())
      fail(ErrorCode::invalid_argument, "{}: more bytes written than declared", printable(file_->path(), 300));
    const size_t piece = std::min<uint64_t>(bytes.size(), sizes_[tensor_] - written_);
    file_->write(bytes.first(piece));
    bytes = bytes.subspan(piece);
    written_ += piece;
    pad();
  }
}

void GgufWriter::finish() {
  pad();
  if (tensor_ != sizes_.size())
    fail(ErrorCode::invalid_argument, "{}: {} declared tensors were not written", printable(file_->path(), 300),
         sizes_.size() - tensor_);
  file_->commit();
}

}  // namespace easel::io
