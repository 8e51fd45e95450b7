#include "exec/weight_store.h"

#include <cstdint>
#include <cstring>
#include <set>

#include "base/fail.h"
#include "exec/call.h"
#include "exec/row_values.h"
#include "graph/side_branches.h"

namespace easel::exec {

using graph::Constant;

namespace {

// Published files store some dense layers as 1×1 convolutions and the reverse: [O, I] and [O, I, 1, 1] are one shape.
bool same_up_to_trailing_ones(const Shape& a, const Shape& b) {
  for (int i = 0; i < std::max(a.rank(), b.rank()); ++i)
    if ((i < a.rank() ? a[i] : 1) != (i < b.rank() ? b[i] : 1)) return false;
  return true;
}

bool aligned(const Tensor& tensor) {
  return reinterpret_cast<uintptr_t>(tensor.raw()) % static_cast<uintptr_t>(size_of(tensor.dtype())) == 0;
}

ops::ArgType type_of(const Constant& constant) {
  return {constant.dtype(), constant.shape(), contiguous_strides(constant.shape()), true, constant.encoding()};
}

// Whether blocks come from several places of the file: else they are a view of it.
bool joined(const Constant& blocks) {
  const Constant* x = &blocks;
  while (x->operands().size() == 1) x = x->operands()[0].get();
  return x->kind() != Constant::Kind::weight;
}

}  // namespace

Tensor WeightSource::blocks(const std::string& name) const {
  fail(ErrorCode::internal, "{}: tensor '{}' is not stored in blocks", description(), name);
}

WeightStore::WeightStore(std::shared_ptr<const WeightSource> source, device::ContextPtr context)
    : source_(std::move(source)), context_(std::move(context)) {}

WeightSource::Outline WeightStore::check_outline(const Constant& weight) const {
  if (const auto own = replacements_.find(weight.weight_name());
      own != replacements_.end() && graph::is_side_weight(weight.weight_name())) {
    if (own->second->shape().numel() != weight.shape().numel())
      fail(ErrorCode::shape_mismatch, "'{}': expected shape {}, found {}", weight.weight_name(), weight.shape().str(),
           own->second->shape().str());
    return {DType::f32, weight.shape()};
  }
  if (!source_) fail(ErrorCode::io, "tensor '{}': expected weights, found none beside the plan", weight.weight_name());
  const WeightSource::Outline stored = source_->outline(weight.weight_name());
  if (!same_up_to_trailing_ones(stored.shape, weight.shape()))
    fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {}, found {}", source_->description(),
         weight.weight_name(), weight.shape().str(), stored.shape.str());
  if (!is_floating(stored.dtype))
    fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected floating-point values, found {}", source_->description(),
         weight.weight_name(), to_string(stored.dtype));
  return stored;
}

Tensor WeightStore::load(const Constant& weight) const {
  check_outline(weight);
  return source_->load(weight.weight_name()).reshape(weight.shape());
}

bool WeightStore::awaited(const Constant& weight) const {
  return graph::is_side_weight(weight.weight_name()) && !replacements_.contains(weight.weight_name());
}

void WeightStore::check(const Constant& constant) const {
  if (!source_) return;
  if (constant.kind() == Constant::Kind::weight && !awaited(constant)) check_outline(constant);
  for (const graph::ConstantPtr& operand : constant.operands()) check(*operand);
}

graph::Graph WeightStore::marked(const graph::Graph& graph) const {
  if (!source_) return graph;
  const auto stored_as = [this](const std::string& name) {
    // What is replaced is evaluated; branches are in no file.
    const bool elsewhere = replacements_.contains(name) || graph::is_side_weight(name);
    return elsewhere ? BlockFormat::none : source_->outline(name).encoding;
  };
  return graph.with_constants([&](const graph::ConstantPtr& x) { return Constant::marked(x, stored_as); });
}

// The bytes of an expression with a row_encoding(): a view of the file where that is all, else a copy.
Tensor WeightStore::stored_rows(const Constant& constant) const {
  const auto& operands = constant.operands();
  switch (constant.kind()) {
    case Constant::Kind::weight: check_outline(constant); return source_->blocks(constant.weight_name());
    case Constant::Kind::slice: {
      const int64_t row = bytes_in_blocks(constant.row_encoding(), constant.shape().numel() / constant.shape()[0]);
      return stored_rows(*operands[0]).rows(constant.begin() * row, (constant.begin() + constant.shape()[0]) * row);
    }
    case Constant::Kind::concat: {
      const Tensor out = Tensor::empty(DType::u8, {bytes_in_blocks(constant.row_encoding(), constant.shape().numel())});
      std::byte* to = out.raw();
      for (const graph::ConstantPtr& part : operands) {
        const Tensor rows = stored_rows(*part);
        std::memcpy(to, rows.raw(), static_cast<size_t>(rows.bytes()));
        to += rows.bytes();
      }
      return out;
    }
    default: return stored_rows(*operands[0]);  // cast, reshape: the same rows
  }
}

// The stored values of a weight in another dtype: by way of f32, as every constant is a function of weights in f32.
Tensor WeightStore::stored_as(const Constant& weight, DType dtype, const Tensor& target) const {
  device::Context& context = *context_;
  if (const auto found = replacements_.find(weight.weight_name()); found != replacements_.end()) {
    const Tensor out = target.defined() ? target : Tensor::empty(dtype, weight.shape());
    RowValues(context, [this](const Constant& source) { return load(source); }).write(*found->second, out);
    return out;
  }
  Tensor stored = load(weight);
  if (!aligned(stored)) stored = stored.clone();
  if (stored.dtype() == dtype && !target.defined()) return stored;
  const Tensor out = target.defined() ? target : Tensor::empty(dtype, weight.shape());
  if (stored.dtype() == dtype) {
    call_into(context, ops::ReshapeAttrs{symbolic(weight.shape())}, {stored}, out);
  } else if (stored.dtype() == DType::f32 || dtype == DType::f32) {
    call_into(context, ops::CastAttrs{dtype}, {stored}, out);
  } else {
    // In blocks that stay in the caches.
    constexpr int64_t kBlock = 1 << 18;
    const int64_t count = stored.numel();
    const Tensor from = stored.reshape({count}), to = out.reshape({count});
    const Tensor block = Tensor::empty(DType::f32, {std::min(kBlock, count)});
    for (int64_t begin = 0; begin < count; begin += kBlock) {
      const int64_t end = std::min(count, begin + kBlock);
      const Tensor wide = block.rows(0, end - begin);
      call_into(context, ops::CastAttrs{DType::f32}, {from.rows(begin, end)}, wide);
      call_into(context, ops::CastAttrs{dtype}, {wide}, to.rows(begin, end));
    }
  }
  return out;
}

Tensor WeightStore::evaluate(const Constant& constant, const Tensor& target) const {
  device::Context& context = *context_;
  const auto& operands = constant.operands();
  const auto apply = [&](const ops::Attrs& attrs, const std::vector<Tensor>& inputs) {
    const Tensor out = target.defined() ? target : Tensor::empty(constant.dtype(), constant.shape());
    call_into(context, attrs, inputs, out);
    return out;
  };
  switch (constant.kind()) {
    case Constant::Kind::blocks: return stored_rows(*operands[0]);
    case Constant::Kind::weight: return stored_as(constant, constant.dtype(), target);
    case Constant::Kind::literal:
      return target.defined() ? apply(ops::ReshapeAttrs{symbolic(constant.shape())}, {constant.values()})
                              : constant.values();
    case Constant::Kind::cast:
      if (operands[0]->kind() == Constant::Kind::weight) return stored_as(*operands[0], constant.dtype(), target);
      return apply(ops::CastAttrs{constant.dtype()}, {evaluate(*operands[0])});
    case Constant::Kind::reshape: {
      const Tensor inner = target.defined() ? target.reshape(operands[0]->shape()) : Tensor();
      return evaluate(*operands[0], inner).reshape(constant.shape());
    }
    case Constant::Kind::permute: return apply(ops::PermuteAttrs{constant.order()}, {evaluate(*operands[0])});
    case Constant::Kind::slice:
      return apply(ops::SliceAttrs{constant.axis(), constant.begin(), constant.shape()[constant.axis()]},
                   {evaluate(*operands[0])});
    case Constant::Kind::concat: {
      if (constant.axis() == 0) {  // the parts are rows of the result
        const Tensor out = target.defined() ? target : Tensor::empty(constant.dtype(), constant.shape());
        int64_t row = 0;
        for (const graph::ConstantPtr& part : operands) {
          evaluate(*part, out.rows(row, row + part->shape()[0]));
          row += part->shape()[0];
        }
        return out;
      }
      std::vector<Tensor> parts;
      for (const graph::ConstantPtr& part : operands) parts.push_back(evaluate(*part));
      return apply(ops::ConcatAttrs{constant.axis()}, parts);
    }
    case Constant::Kind::scale: {
      const Tensor factor = Tensor::from({static_cast<float>(constant.factor())}, {1});
      return apply(ops::BinaryAttrs{ops::BinaryKind::mul}, {evaluate(*operands[0]), factor});
    }
    case Constant::Kind::add:
    case Constant::Kind::mul:
    case Constant::Kind::matmul:
    case Constant::Kind::kron:
    case Constant::Kind::rescale: {
      const Tensor out = target.defined() ? target : Tensor::empty(constant.dtype(), constant.shape());
      RowValues(context, [this](const Constant& weight) {
        return stored_as(weight, DType::f32, {});
      }).write(constant, out);
      return out;
    }
  }
  fail(ErrorCode::internal, "constant {}: unknown kind", constant.key());
}

void WeightStore::release_sources(const Constant& constant) const {
  constant.each_weight([&](const std::string& name) { source_->release(name); });
}

bool WeightStore::replaced(const Constant& constant) const {
  bool found = false;
  constant.each_weight([&](const std::string& name) { found |= replacements_.contains(name); });
  return found;
}

PackedWeightPtr WeightStore::get(const graph::ConstantPtr& constant, const ops::PackFormat* format) {
  const std::string key = constant->key() + "|" + (format ? format->name : "");
  std::lock_guard lock(mutex_);
  if (const auto found = packed_.find(key); found != packed_.end()) return found->second.weight;
  auto weight = std::make_shared<PackedWeight>();
  fill(constant, format, *weight);
  packed_[key] = {constant, format, weight};
  return weight;
}

// Evaluates and packs; memory of the right size is used again.
void WeightStore::fill(const graph::ConstantPtr& constant, const ops::PackFormat* format, PackedWeight& weight) {
  // What is stored as it is wanted is packed from the file.
  const bool weight_itself = constant->kind() == Constant::Kind::weight && !replaced(*constant);
  const bool blocks = constant->kind() == Constant::Kind::blocks;
  const bool stored_so = blocks || (weight_itself && check_outline(*constant).dtype == constant->dtype());
  Tensor target;
  if (format && !stored_so) {
    const int64_t bytes = constant->shape().numel() * size_of(constant->dtype());
    if (bytes > scratch_.size()) {
      scratch_ = device::Buffer();
      scratch_ = device::Buffer(bytes);
    }
    target = Tensor::wrap(scratch_.data(), constant->dtype(), constant->shape());
  }
  Tensor values = evaluate(*constant, target);
  if (format) {
    const ops::ArgType type = type_of(*constant);
    weight.bytes = format->bytes(type);
    if (weight.buffer.size() < weight.bytes) weight.buffer = device::Buffer(weight.bytes);
    format->pack(type, values.raw(), weight.buffer.data(), *context_->pool);
    weight.data = weight.buffer.data();
    release_sources(*constant);
  } else {
    const bool in_file = (weight_itself && values.raw() == source_->load(constant->weight_name()).raw()) ||
                         (blocks && !joined(*constant));
    weight.bytes = in_file ? 0 : values.bytes();
    weight.tensor = std::move(values);
    weight.data = weight.tensor.raw();
    if (!in_file) release_sources(*constant);
  }
}

bool WeightStore::replace(Replacements replacements) {
  std::lock_guard lock(mutex_);
  for (const auto& [name, expression] : replacements) {
    check(*expression);
    if (graph::is_side_weight(name)) continue;
    const Shape stored = source_ ? source_->outline(name).shape : expression->shape();
    if (stored.numel() != expression->shape().numel())
      fail(ErrorCode::shape_mismatch, "tensor '{}': expected values of shape {}, found {}", name, stored.str(),
           expression->shape().str());
  }
  std::set<std::string> changed;
  const auto note = [&](const Replacements& from, const Replacements& other) {
    for (const auto& [name, expression] : from)
      if (const auto same = other.find(name);
          (same == other.end() && !(graph::is_side_weight(name) && &from == &replacements_)) ||
          (same != other.end() && same->second->key() != expression->key()))
        changed.insert(name);
  };
  note(replacements_, replacements);
  note(replacements, replacements_);
  replacements_ = std::move(replacements);
  bool compiled_anew = false;
  for (const std::string& name : changed)
    compiled_anew |= source_ && !graph::is_side_weight(name) && source_->outline(name).encoding != BlockFormat::none;
  for (auto& [key, packed] : packed_) {
    bool stale = false, gone = false;
    packed.constant->each_weight([&](const std::string& name) {
      stale |= changed.contains(name);
      gone |= graph::is_side_weight(name) && !replacements_.contains(name);
    });
    if (!stale || gone || packed.constant->kind() == Constant::Kind::blocks) continue;  // blocks are as in the file
    if (context_->cancel.cancelled()) fail(ErrorCode::cancelled, "weights: cancelled");
    fill(packed.constant, packed.format, *packed.weight);
  }
  // Branches that are gone, and that no program holds any more.
  std::erase_if(packed_, [&](const auto& entry) {
    bool gone = false;
    entry.second.constant->each_weight(
        [&](const std::string& name) { gone |= graph::is_side_weight(name) && !replacements_.contains(name); });
    return gone && entry.second.weight.use_count() == 1;
  });
  scratch_ = device::Buffer();
  return compiled_anew;
}

int64_t WeightStore::bytes_of(const Constant& constant, const ops::PackFormat* format) const {
  const ops::ArgType type = type_of(constant);
  return format ? format->bytes(type) : type.bytes();
}

int64_t WeightStore::working_bytes(const Constant& constant) const { return working_bytes(constant, false); }

// What reading a weight takes: pages of the file, and where they are decoded, the values.
int64_t WeightStore::stored_bytes(const Constant& weight) const {
  const int64_t count = weight.shape().numel();
  if (!source_ || awaited(weight)) return count * size_of(DType::f32);  // for all one knows
  const WeightSource::Outline stored = check_outline(weight);
  const bool decoded = stored.encoding != BlockFormat::none && stored.dtype == DType::f32;
  return count * size_of(stored.dtype) + (decoded ? bytes_in_blocks(stored.encoding, count) : 0);
}

// As evaluate() goes: `has_target` where the values are written to memory that is already counted.
int64_t WeightStore::working_bytes(const Constant& constant, bool has_target) const {
  const auto& operands = constant.operands();
  const int64_t own = constant.shape().numel() * size_of(constant.dtype()), made = has_target ? 0 : own;
  if (constant.kind() == Constant::Kind::literal) return made;
  if (constant.kind() == Constant::Kind::blocks) return type_of(constant).bytes() * (joined(constant) ? 2 : 1);
  if (constant.kind() == Constant::Kind::reshape) return working_bytes(*operands[0], has_target);
  const bool weight = constant.kind() == Constant::Kind::weight;
  if (weight || (constant.kind() == Constant::Kind::cast && operands[0]->kind() == Constant::Kind::weight)) {
    const Constant& source = weight ? constant : *operands[0];
    if (const auto found = replacements_.find(source.weight_name()); found != replacements_.end())
      return source.shape().numel() * size_of(DType::f32) + RowValues::working_bytes(*found->second) + made;
    const bool same = source_ && !awaited(source) && check_outline(source).dtype == constant.dtype();
    return stored_bytes(source) + (same ? 0 : made);
  }
  int64_t sum = made;
  const bool in_place = constant.kind() == Constant::Kind::concat && constant.axis() == 0;
  for (const graph::ConstantPtr& operand : operands) sum += working_bytes(*operand, in_place);
  return sum;
}

void WeightStore::trim() {
  std::lock_guard lock(mutex_);
  scratch_ = device::Buffer();
}

void WeightStore::drop() {
  std::lock_guard lock(mutex_);
  packed_.clear();
}

int64_t WeightStore::packed_bytes() const {
  std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& [key, packed] : packed_) sum += packed.weight->bytes;
  return sum;
}

}  // namespace easel::exec
