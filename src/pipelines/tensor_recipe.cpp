#include "pipelines/tensor_recipe.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/fail.h"
#include "base/thread_pool.h"
#include "io/gguf.h"
#include "io/safetensors.h"
#include "tensor/convert.h"

namespace easel::pipelines {

namespace {

constexpr int64_t kPiece = 1 << 20;  // elements; whole blocks of every format

/// Where the bytes of a file go.
class Sink {
 public:
  explicit Sink(const RecipeFile& file) {
    if (!file.gguf) {
      std::vector<io::SafetensorsWriter::Declaration> declared;
      for (const Recipe& recipe : file.tensors) declared.push_back({recipe.name, recipe.encoding.dtype, recipe.shape});
      safetensors_ = std::make_unique<io::SafetensorsWriter>(file.path, std::move(declared), file.metadata);
      return;
    }
    std::map<std::string, io::GgufValue> metadata;
    for (const auto& [key, value] : file.metadata) metadata[key] = value;
    metadata["general.quantization_version"] = uint32_t{2};
    std::vector<io::GgufWriter::Declaration> declared;
    for (const Recipe& recipe : file.tensors) {
      declared.push_back({recipe.name, recipe.encoding.dtype, recipe.encoding.format, recipe.stored_shape});
      if (recipe.stored_shape == recipe.shape) continue;
      std::vector<int32_t> original;
      for (const int64_t dim : recipe.shape) original.push_back(static_cast<int32_t>(dim));
      metadata["comfy.gguf.orig_shape." + recipe.name] = original;
    }
    gguf_ = std::make_unique<io::GgufWriter>(file.path, std::move(declared), metadata);
  }
  void write(std::span<const std::byte> bytes) {
    if (gguf_)
      gguf_->write_bytes(bytes);
    else
      safetensors_->write_bytes(bytes);
  }
  void finish() {
    if (gguf_)
      gguf_->finish();
    else
      safetensors_->finish();
  }

 private:
  std::unique_ptr<io::SafetensorsWriter> safetensors_;
  std::unique_ptr<io::GgufWriter> gguf_;
};

double largest_value(const Encoding& encoding) {
  switch (encoding.dtype) {
    case DType::f16: return 65519;  // the last that is not rounded to infinity
    case DType::f8_e4m3: return 464;
    case DType::f8_e5m2: return 61439;
    default: return HUGE_VAL;
  }
}

void check_values(const Recipe& recipe, std::span<const float> values) {
  const bool packed = recipe.encoding.format != BlockFormat::none;
  const double limit = packed ? HUGE_VAL : largest_value(recipe.encoding);
  for (const float value : values) {
    if (std::isfinite(value) && std::fabs(value) > limit)
      fail(ErrorCode::invalid_argument, "tensor '{}': {} is too large for {}; bf16 and fp32 hold it (--dtype)",
           printable(recipe.name), value, recipe.encoding.name());
    if (packed && !std::isfinite(value))
      fail(ErrorCode::invalid_argument, "tensor '{}': expected finite values to pack as {}, found {}",
           printable(recipe.name), recipe.encoding.name(), value);
  }
}

/// Produces the bytes and values of one tensor in pieces; buffers are reused. Threads share a piece in fixed ranges,
/// and every element or block is computed by itself, so their number changes nothing.
class Cook {
 public:
  /// Bytes of elements begin … begin + count − 1.
  std::span<const std::byte> bytes(const Recipe& recipe, int64_t begin, int64_t count) {
    if (recipe.copied()) {
      const Recipe::Source& source = recipe.terms[0].sources[0];
      const auto stored = source.file.stored_bytes(*source.info);
      return stored.subspan(size_in(recipe.encoding, source.begin + begin), size_in(recipe.encoding, count));
    }
    if (!is_floating(recipe.encoding.dtype)) return whole(recipe, begin, count);
    const std::span<const float> source = values(recipe, begin, count);
    check_values(recipe, source);
    out_.resize(size_in(recipe.encoding, count));
    each_range(count, [&](int64_t from, int64_t size) {
      std::byte* target = out_.data() + size_in(recipe.encoding, from);
      if (recipe.encoding.format == BlockFormat::none)
        convert_from_f32(source.data() + from, target, recipe.encoding.dtype, size);
      else
        quantize(recipe.encoding.format, source.data() + from, target, size);
    });
    return out_;
  }

  std::span<const float> values(const Recipe& recipe, int64_t begin, int64_t count) {
    if (!recipe.change) return sum(recipe, begin, count);
    if (begin == 0) {
      Tensor all = Tensor::empty(DType::f32, recipe.shape);
      for (int64_t at = 0, size = recipe.shape.numel(); at < size; at += kPiece)
        std::ranges::copy(sum(recipe, at, std::min(kPiece, size - at)), all.data<float>() + at);
      changed_ = recipe.change(all);
    }
    return {changed_.data<float>() + begin, static_cast<size_t>(count)};
  }

  std::span<const float> sum(const Recipe& recipe, int64_t begin, int64_t count) {
    values_.resize(static_cast<size_t>(count));
    for (size_t t = 0; t < recipe.terms.size(); ++t) {
      const Recipe::Term& term = recipe.terms[t];
      if (t == 0 && term.weight == 1) {
        read(term, begin, count, values_.data());
        continue;
      }
      if (t == 0) std::fill(values_.begin(), values_.end(), 0.0f);
      term_.resize(static_cast<size_t>(count));
      read(term, begin, count, term_.data());
      const auto weight = static_cast<float>(term.weight);
      for (size_t i = 0; i < term_.size(); ++i) values_[i] += weight * term_[i];
    }
    return values_;
  }

  static size_t size_in(const Encoding& encoding, int64_t count) {
    if (encoding.format == BlockFormat::none) return static_cast<size_t>(count * size_of(encoding.dtype));
    return static_cast<size_t>(count / block_elements(encoding.format) * block_bytes(encoding.format));
  }

 private:
  template <typename Body>
  void each_range(int64_t count, Body&& body) {
    constexpr int64_t kRange = 1 << 15;
    pool_.parallel_for((count + kRange - 1) / kRange,
                       [&](int64_t task, int) { body(task * kRange, std::min(kRange, count - task * kRange)); });
  }
  void read(const Recipe::Term& term, int64_t begin, int64_t count, float* out) {
    for (const Recipe::Source& source : term.sources) {
      if (begin < source.count && count > 0) {
        const int64_t size = std::min(count, source.count - begin);
        read(source, begin, size, out);
        begin += size;
        count -= size;
        out += size;
      }
      begin -= source.count;
    }
  }

  void read(const Recipe::Source& source, int64_t begin, int64_t count, float* out) {
    const io::TensorInfo& info = *source.info;
    if (source.transposed) return read_transposed(source, begin, count, out);
    begin += source.begin;
    if (!info.strides.empty()) return source.file.read_f32(info, begin, count, out);  // takes memory
    each_range(count, [&](int64_t from, int64_t size) { source.file.read_f32(info, begin + from, size, out + from); });
  }

  // Only projections are stored transposed, a few megabytes: the matrix is kept for its next piece.
  void read_transposed(const Recipe::Source& source, int64_t begin, int64_t count, float* out) {
    const int64_t rows = source.info->shape[0], columns = source.info->shape[1];
    if (matrix_of_ != source.info) {
      matrix_.resize(static_cast<size_t>(rows * columns));
      source.file.read_f32(*source.info, 0, rows * columns, matrix_.data());
      matrix_of_ = source.info;
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = begin + i;
      out[i] = matrix_[static_cast<size_t>(at % rows * columns + at / rows)];
    }
  }

  // Whole numbers with strides: small tables.
  std::span<const std::byte> whole(const Recipe& recipe, int64_t begin, int64_t count) {
    const Recipe::Source& source = recipe.terms[0].sources[0];
    if (begin == 0) integers_ = source.file.tensor(source.info->name);
    return {integers_.raw() + size_in(recipe.encoding, begin), size_in(recipe.encoding, count)};
  }

  ThreadPool pool_;
  std::vector<float> values_, term_, matrix_;
  const io::TensorInfo* matrix_of_ = nullptr;
  std::vector<std::byte> out_;
  Tensor integers_, changed_;
};

void release(const Recipe& recipe, int64_t begin, int64_t count) {
  for (const Recipe::Term& term : recipe.terms) {
    int64_t at = 0;  // of a source within the term
    for (const Recipe::Source& source : term.sources) {
      const int64_t from = std::max<int64_t>(begin - at, 0), to = std::min(begin + count - at, source.count);
      if (from < to && !source.transposed) source.file.release_pages(*source.info, source.begin + from, to - from);
      at += source.count;
    }
  }
}

void check_cancelled(const CancelToken& cancel) {
  if (cancel.cancelled()) fail(ErrorCode::cancelled, "cancelled");
}

}  // namespace

Encoding parse_encoding(const std::string& where, const std::string& name) {
  static constexpr std::pair<std::string_view, DType> kPlain[] = {
      {"fp32", DType::f32},  {"f32", DType::f32},         {"fp16", DType::f16},       {"f16", DType::f16},
      {"bf16", DType::bf16}, {"f8_e4m3", DType::f8_e4m3}, {"f8_e5m2", DType::f8_e5m2}};
  for (const auto& [known, dtype] : kPlain)
    if (known == name) return {dtype, BlockFormat::none};
  if (const auto format = block_format_from_name(name); format && can_quantize(*format)) return {DType::f32, *format};
  fail(ErrorCode::invalid_argument,
       "{}: expected fp32, fp16, bf16, f8_e4m3, f8_e5m2, q8_0, q6_k, q5_k, q5_1, q5_0, q4_k, q4_1, q4_0, iq4_nl, "
       "iq4_xs, "
       "q3_k or q2_k, found \"{}\"",
       where, printable(name, 40));
}

bool Recipe::copied() const {
  if (change || terms.size() != 1 || terms[0].weight != 1 || terms[0].sources.size() != 1) return false;
  const Source& source = terms[0].sources[0];
  return source.info->dtype == encoding.dtype && source.info->format == encoding.format &&
         source.info->strides.empty() && !source.info->scaled() && !source.transposed;
}

bool Recipe::lossy() const {
  if (copied() || !is_floating(encoding.dtype)) return false;
  if (encoding.format != BlockFormat::none) return true;
  if (change) return encoding.dtype != DType::f32 && encoding.dtype != DType::f64;
  const auto any = [&](auto&& of_source) {
    return std::ranges::any_of(terms, [&](const Term& t) { return std::ranges::any_of(t.sources, of_source); });
  };
  if (encoding.dtype == DType::f64 || encoding.dtype == DType::f32)
    return any([](const Source& s) { return s.info->dtype == DType::f64; });
  return terms.size() > 1 || terms[0].weight != 1 || any([&](const Source& s) {
           const bool fp8 = s.info->dtype == DType::f8_e4m3 || s.info->dtype == DType::f8_e5m2;
           // Every fp8 number is a binary16 and a bfloat16 number.
           const bool widened = fp8 && (encoding.dtype == DType::f16 || encoding.dtype == DType::bf16);
           return s.info->packed() || s.info->scaled() || !(widened || s.info->dtype == encoding.dtype);
         });
}

uint64_t total_bytes(const RecipeFile& file) {
  uint64_t sum = 0;
  for (const Recipe& recipe : file.tensors)
    sum += io::encoded_bytes(recipe.encoding.dtype, recipe.encoding.format, recipe.stored_shape);
  return sum;
}

void write_recipes(const RecipeFile& file, uint64_t& done, const ByteProgress& progress, const CancelToken& cancel) {
  const uint64_t total = done + total_bytes(file);
  Sink sink(file);
  Cook cook;
  for (const Recipe& recipe : file.tensors) {
    const int64_t count = recipe.shape.numel();
    for (int64_t begin = 0; begin < count; begin += kPiece) {
      check_cancelled(cancel);
      const int64_t size = std::min(kPiece, count - begin);
      const auto bytes = cook.bytes(recipe, begin, size);
      sink.write(bytes);
      done += bytes.size();
      release(recipe, begin, size);
      if (progress) progress(done, total);
    }
  }
  sink.finish();
}

void check_recipes(const RecipeFile& file, CheckReport& report, const CancelToken& cancel) {
  const io::TensorFile written = io::TensorFile::open(file.path);
  const std::string where = printable(file.path, 300);
  if (written.tensors().size() != file.tensors.size())
    fail(ErrorCode::io, "{}: check: expected {} tensors, found {}", where, file.tensors.size(),
         written.tensors().size());
  Cook cook;
  std::vector<float> back;
  for (const Recipe& recipe : file.tensors) {
    const std::string name = printable(recipe.name);
    const io::TensorInfo* info = written.find(recipe.name);
    // A scalar becomes [1] in GGUF.
    const bool same_shape = info && (info->shape == recipe.shape || (recipe.shape.empty() && info->shape == Shape{1}));
    if (!same_shape || info->encoding() != recipe.encoding.name())
      fail(ErrorCode::io, "{}: check: tensor '{}': expected {} {}, found {}", where, name, recipe.encoding.name(),
           recipe.shape.str(), info ? fmt::format("{} {}", info->encoding(), info->shape.str()) : "none");
    const auto stored = written.stored_bytes(*info);
    const int64_t count = recipe.shape.numel();
    double error = 0, norm = 0;
    for (int64_t begin = 0; begin < count; begin += kPiece) {
      check_cancelled(cancel);
      const int64_t size = std::min(kPiece, count - begin);
      const auto expected = cook.bytes(recipe, begin, size);
      const size_t at = Cook::size_in(recipe.encoding, begin);
      if (std::memcmp(stored.data() + at, expected.data(), expected.size()) != 0)
        fail(ErrorCode::io, "{}: check: tensor '{}' is not what was written", where, name);
      if (!is_floating(recipe.encoding.dtype)) {
        written.release_pages(*info, begin, size);
        release(recipe, begin, size);
        continue;
      }
      back.resize(static_cast<size_t>(size));
      written.read_f32(*info, begin, size, back.data());
      const auto source = cook.values(recipe, begin, size);
      for (size_t i = 0; i < back.size(); ++i) {
        const double difference = static_cast<double>(back[i]) - source[i];
        if (std::isfinite(source[i])) {
          error += difference * difference;
          norm += static_cast<double>(source[i]) * source[i];
        }
      }
      written.release_pages(*info, begin, size);
      release(recipe, begin, size);
    }
    const double relative = norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
    if (error > 0 && !recipe.lossy())
      fail(ErrorCode::io, "{}: check: tensor '{}': expected the source's values, found others (relative error {:.1e})",
           where, name, relative);
    ++report.tensors;
    report.exact += error == 0;
    auto& worst = report.worst[std::string(recipe.encoding.name())];
    if (relative >= worst.first) worst = {relative, recipe.name};
  }
}

}  // namespace easel::pipelines
