#include "exec/weight_store.h"

#include <cstdint>

#include "base/fail.h"
#include "exec/call.h"

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
  return {constant.dtype(), constant.shape(), contiguous_strides(constant.shape()), true};
}

}  // namespace

WeightStore::WeightStore(std::shared_ptr<const WeightSource> source, device::ContextPtr context)
    : source_(std::move(source)), context_(std::move(context)) {}

void WeightStore::check_outline(const Constant& weight) const {
  if (!source_) fail(ErrorCode::io, "tensor '{}': expected weights, found none beside the plan", weight.weight_name());
  const WeightSource::Outline stored = source_->outline(weight.weight_name());
  if (!same_up_to_trailing_ones(stored.shape, weight.shape()))
    fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {}, found {}", source_->description(),
         weight.weight_name(), weight.shape().str(), stored.shape.str());
  if (!is_floating(stored.dtype))
    fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected floating-point values, found {}", source_->description(),
         weight.weight_name(), to_string(stored.dtype));
}

Tensor WeightStore::load(const Constant& weight) const {
  check_outline(weight);
  return source_->load(weight.weight_name()).reshape(weight.shape());
}

void WeightStore::check(const Constant& constant) const {
  if (!source_) return;
  if (constant.kind() == Constant::Kind::weight) check_outline(constant);
  for (const graph::ConstantPtr& operand : constant.operands()) check(*operand);
}

Tensor WeightStore::evaluate(const Constant& constant) const {
  std::vector<Tensor> operands;
  for (const graph::ConstantPtr& operand : constant.operands()) operands.push_back(evaluate(*operand));
  device::Context& context = *context_;
  switch (constant.kind()) {
    case Constant::Kind::weight: {
      const Tensor stored = load(constant);
      const Tensor usable = aligned(stored) ? stored : stored.clone();
      return usable.dtype() == DType::f32 ? usable : call(context, ops::CastAttrs{DType::f32}, {usable});
    }
    case Constant::Kind::literal: return constant.values();
    case Constant::Kind::cast: return call(context, ops::CastAttrs{constant.dtype()}, operands);
    case Constant::Kind::reshape: return operands[0].reshape(constant.shape());
    case Constant::Kind::permute: return call(context, ops::PermuteAttrs{constant.order()}, operands);
    case Constant::Kind::slice:
      return call(context, ops::SliceAttrs{constant.axis(), constant.begin(), constant.shape()[constant.axis()]},
                  operands);
    case Constant::Kind::concat: return call(context, ops::ConcatAttrs{constant.axis()}, operands);
    case Constant::Kind::scale: {
      const Tensor factor = Tensor::from({static_cast<float>(constant.factor())}, {1});
      return call(context, ops::BinaryAttrs{ops::BinaryKind::mul}, {operands[0], factor});
    }
  }
  fail(ErrorCode::internal, "constant {}: unknown kind", constant.key());
}

void WeightStore::release_sources(const Constant& constant) const {
  constant.each_weight([&](const std::string& name) { source_->release(name); });
}

PackedWeightPtr WeightStore::get(const graph::ConstantPtr& constant, const ops::PackFormat* format) {
  const std::string key = constant->key() + "|" + (format ? format->name : "");
  std::lock_guard lock(mutex_);
  if (const auto found = packed_.find(key); found != packed_.end()) return found->second;
  auto weight = std::make_shared<PackedWeight>();
  Tensor values = evaluate(*constant);
  if (format) {
    const ops::ArgType type = type_of(*constant);
    weight->bytes = format->bytes(type);
    weight->buffer = device::Buffer(weight->bytes);
    format->pack(type, values.raw(), weight->buffer.data(), *context_->pool);
    weight->data = weight->buffer.data();
    release_sources(*constant);
  } else {
    const bool in_file =
        constant->kind() == Constant::Kind::weight && values.raw() == source_->load(constant->weight_name()).raw();
    weight->bytes = in_file ? 0 : values.bytes();
    weight->tensor = std::move(values);
    weight->data = weight->tensor.raw();
    if (!in_file) release_sources(*constant);
  }
  return packed_[key] = weight;
}

int64_t WeightStore::bytes_of(const Constant& constant, const ops::PackFormat* format) const {
  const ops::ArgType type = type_of(constant);
  return format ? format->bytes(type) : constant.shape().numel() * size_of(constant.dtype());
}

void WeightStore::drop() {
  std::lock_guard lock(mutex_);
  packed_.clear();
}

int64_t WeightStore::packed_bytes() const {
  std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& [key, weight] : packed_) sum += weight->bytes;
  return sum;
}

}  // namespace easel::exec
