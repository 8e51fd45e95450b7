#include "pipelines/lora_merge.h"

#include <algorithm>

#include "base/fail.h"

namespace easel::pipelines {

using graph::Constant;
using graph::ConstantPtr;

namespace {

/// The expressions of one layer of one adapter.
class Delta {
 public:
  Delta(const LoraDelta& delta, const LoraTarget& target, const std::string& where)
      : layer_(*delta.layer),
        target_(target),
        where_(where),
        outputs_(target.shape.rank() == 0 ? 1 : target.shape[0]),
        inputs_(outputs_ == 0 ? 0 : target.shape.numel() / outputs_),
        factor_(layer_.scale * delta.weight) {}

  /// [O, r] and [r, inputs], the second with all factors; LoRA only.
  std::pair<ConstantPtr, ConstantPtr> factors() const {
    const ConstantPtr down = layer_.find("mid") ? core_times("mid", "down") : matrix("down");
    const ConstantPtr up = matrix("up");
    expect(up->shape()[0] == outputs_ && down->shape()[1] == inputs_, up, down);
    return {up, Constant::scale(down, factor_)};
  }

  /// [O, inputs].
  ConstantPtr delta() const {
    switch (layer_.kind) {
      case LoraLayer::Kind::lora: {
        const auto [up, down] = factors();
        return Constant::matmul(up, down);
      }
      case LoraLayer::Kind::loha: {
        const ConstantPtr first = product("w1_a", "w1_b", "t1"), second = product("w2_a", "w2_b", "t2");
        expect(fits(first) && fits(second), first, second);
        return Constant::scale(Constant::mul(first, second), factor_);
      }
      case LoraLayer::Kind::lokr: {
        const ConstantPtr first = layer_.find("w1") ? matrix("w1") : product("w1_a", "w1_b", "");
        const ConstantPtr second = layer_.find("w2") ? matrix("w2") : product("w2_a", "w2_b", "t2");
        expect(first->shape()[0] * second->shape()[0] == outputs_ && first->shape()[1] * second->shape()[1] == inputs_,
               first, second);
        return Constant::kron(Constant::scale(first, factor_), second);
      }
      case LoraLayer::Kind::full: break;
    }
    const Tensor& diff = *layer_.find("diff");
    if (diff.numel() != outputs_ * inputs_) mismatch("diff", diff.shape().str());
    return Constant::scale(Constant::reshape(literal("diff"), {outputs_, inputs_}), factor_);
  }

  ConstantPtr magnitude() const {
    const int64_t expected = layer_.magnitude_by_input ? target_.shape[1] : outputs_;
    const Tensor& m = *layer_.find("magnitude");
    if (m.numel() != expected)
      fail(ErrorCode::shape_mismatch, "{}: layer '{}': expected {} magnitudes for '{}' {}, found shape {}", where_,
           printable(layer_.key), expected, target_.module, target_.shape.str(), m.shape().str());
    return literal("magnitude");
  }

  ConstantPtr bias(const char* role, double factor) const {
    const Tensor& values = *layer_.find(role);
    if (target_.bias == 0)
      fail(ErrorCode::unsupported, "{}: layer '{}': adds a bias, which '{}' of the {} has not", where_,
           printable(layer_.key), target_.module, target_.component);
    if (values.numel() != target_.bias)
      fail(ErrorCode::shape_mismatch, "{}: layer '{}': expected {} values for its bias, found shape {}", where_,
           printable(layer_.key), target_.bias, values.shape().str());
    return Constant::scale(Constant::reshape(literal(role), {target_.bias}), factor);
  }

 private:
  ConstantPtr literal(const char* role) const {
    const Tensor& values = *layer_.find(role);
    // Where the bytes lie tells files apart that are open at the same time.
    return Constant::cast(
        Constant::literal(values, fmt::format("{} {} {}", layer_.key, role, static_cast<const void*>(values.raw()))),
        DType::f32);
  }

  // The first axis by all others.
  ConstantPtr matrix(const char* role) const {
    const Tensor& values = *layer_.find(role);
    return Constant::reshape(literal(role), {values.dim(0), values.numel() / values.dim(0)});
  }

  // core [A, B, k…], right [B, N] → [A, N·k…]: Σ_b core[a, b, k] · right[b, n].
  ConstantPtr core_times(const char* core, const char* right) const {
    const Shape& shape = layer_.find(core)->shape();
    const int64_t a = shape[0], b = shape[1], k = shape.numel() / std::max<int64_t>(1, a * b);
    const ConstantPtr rows =
        Constant::reshape(Constant::permute(Constant::reshape(literal(core), {a, b, k}), {0, 2, 1}), {a * k, b});
    const ConstantPtr columns = matrix(right);
    const int64_t n = columns->shape()[1];
    const ConstantPtr made = Constant::reshape(Constant::matmul(rows, columns), {a, k, n});
    return Constant::reshape(Constant::permute(made, {0, 2, 1}), {a, n * k});
  }

  ConstantPtr product(const char* a, const char* b, const char* t) const {
    if (layer_.find(t)) return Constant::matmul(Constant::permute(matrix(a), {1, 0}), core_times(t, b));
    return Constant::matmul(matrix(a), matrix(b));
  }

  bool fits(const ConstantPtr& x) const { return x->shape()[0] == outputs_ && x->shape()[1] == inputs_; }
  void expect(bool fitting, const ConstantPtr& a, const ConstantPtr& b) const {
    if (!fitting)
      mismatch(layer_.kind == LoraLayer::Kind::lora ? "up and down" : "factors",
               fmt::format("{} and {}", a->shape().str(), b->shape().str()));
  }
  [[noreturn]] void mismatch(const char* what, const std::string& found) const {
    fail(ErrorCode::shape_mismatch, "{}: layer '{}': expected {} for a weight of shape {} ('{}' of the {}), found {}",
         where_, printable(layer_.key), what, target_.shape.str(), target_.module, target_.component, found);
  }

  const LoraLayer& layer_;
  const LoraTarget& target_;
  const std::string& where_;
  int64_t outputs_, inputs_;
  double factor_;
};

bool changes_weight(const LoraLayer& layer) {
  return layer.kind != LoraLayer::Kind::full || layer.find("diff") != nullptr;
}

}  // namespace

graph::ConstantPtr delta_of(const LoraDelta& delta, const LoraTarget& target, const std::string& where) {
  return Delta(delta, target, where).delta();
}

graph::ConstantPtr merged_weight(const std::vector<LoraDelta>& deltas, const LoraTarget& target,
                                 const std::vector<std::string>& where) {
  const ConstantPtr weight = Constant::weight(target.module + ".weight", target.shape);
  const int64_t outputs = target.shape.rank() == 0 ? 1 : target.shape[0];
  const Shape matrix = {outputs, outputs == 0 ? 0 : target.shape.numel() / outputs};
  const ConstantPtr base = Constant::reshape(weight, matrix);
  ConstantPtr sum = base;
  std::vector<ConstantPtr> ups, downs;
  bool changed = false;
  for (size_t i = 0; i < deltas.size(); ++i) {
    const LoraLayer& layer = *deltas[i].layer;
    const Delta delta(deltas[i], target, where[i]);
    if (!changes_weight(layer)) continue;
    changed = true;
    if (layer.dora()) continue;
    if (layer.kind == LoraLayer::Kind::lora) {
      auto [up, down] = delta.factors();
      ups.push_back(std::move(up));
      downs.push_back(std::move(down));
    } else {
      sum = Constant::add(sum, delta.delta());
    }
  }
  // Σ Bᵢ Aᵢ is one product: the factors side by side.
  if (!ups.empty()) sum = Constant::add(sum, Constant::matmul(Constant::concat(ups, 1), Constant::concat(downs, 0)));
  for (size_t i = 0; i < deltas.size(); ++i) {
    const LoraLayer& layer = *deltas[i].layer;
    if (!layer.dora() || !changes_weight(layer)) continue;
    const Delta delta(deltas[i], target, where[i]);
    Shape axes = layer.magnitude_by_input ? target.shape : matrix;
    const ConstantPtr directions = Constant::reshape(Constant::add(base, delta.delta()), axes);
    const ConstantPtr made =
        Constant::reshape(Constant::rescale(directions, delta.magnitude(), layer.magnitude_by_input ? 1 : 0), matrix);
    sum = sum == base ? made : Constant::add(sum, Constant::add(made, Constant::scale(base, -1)));
  }
  return changed ? Constant::reshape(sum, target.shape) : nullptr;
}

graph::ConstantPtr merged_bias(const std::vector<LoraDelta>& deltas, const LoraTarget& target,
                               const std::vector<std::string>& where) {
  ConstantPtr sum;
  for (size_t i = 0; i < deltas.size(); ++i) {
    const LoraLayer& layer = *deltas[i].layer;
    const Delta delta(deltas[i], target, where[i]);
    const auto add = [&](const char* role, double factor) {
      if (!layer.find(role)) return;
      const ConstantPtr values = delta.bias(role, factor);
      sum = Constant::add(sum ? sum : Constant::weight(target.module + ".bias", {target.bias}), values);
    };
    add("diff_b", deltas[i].weight);
    add("bias", layer.scale * deltas[i].weight);
  }
  return sum;
}

namespace {

// "lora_unet_a, lora_unet_b and 720 more"
std::string list(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  std::string out;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    if (i > 0) out += ", ";
    out += printable(names[i]);
  }
  if (names.size() > kShown) out += fmt::format(" and {} more", names.size() - kShown);
  return out;
}

}  // namespace

namespace {

// Rows of a branch are read in whole lines, and adapters of nearby ranks share a program.
constexpr int64_t kRankStep = 16;

/// Rank of the side branch that does what the deltas do; 0 where only merging does.
int64_t side_rank(const std::vector<LoraDelta>& deltas, const LoraTarget& target) {
  if (target.component != "unet" || (target.shape.rank() != 2 && target.shape.rank() != 4)) return 0;
  int64_t rank = 0;
  for (const LoraDelta& delta : deltas) {
    if (delta.layer->kind != LoraLayer::Kind::lora || delta.layer->dora()) return 0;
    rank += delta.layer->find("up")->numel() / target.shape[0];
  }
  constexpr int64_t kMost = 1024;
  for (const int64_t step : {kRankStep, int64_t{2}}) {  // layers hardly wider than the rank are filled up to pairs
    const int64_t filled = (rank + step - 1) / step * step;
    if (filled <= kMost && 2 * filled < target.shape[0]) return filled;
  }
  return 0;
}

ConstantPtr zeros(const Shape& shape) {
  return Constant::literal(Tensor::zeros(DType::f32, shape), "zeros " + shape.str());
}

void add_side_branch(const std::vector<LoraDelta>& deltas, const LoraTarget& target,
                     const std::vector<std::string>& where, int64_t rank, Adaptation& out) {
  const std::string weight = target.module + ".weight";
  std::vector<ConstantPtr> ups, downs;
  int64_t used = 0;
  for (size_t i = 0; i < deltas.size(); ++i) {
    auto [up, down] = Delta(deltas[i], target, where[i]).factors();
    used += up->shape()[1];
    ups.push_back(std::move(up));
    downs.push_back(std::move(down));
  }
  const int64_t inputs = target.shape.numel() / target.shape[0];
  if (used < rank) {
    ups.push_back(zeros({target.shape[0], rank - used}));
    downs.push_back(zeros({rank - used, inputs}));
  }
  Shape shape = target.shape;
  shape[0] = rank;
  exec::Replacements& unet = out.replacements[target.component];
  unet[graph::side_down(weight, rank)] = Constant::reshape(Constant::concat(downs, 0), shape);
  unet[graph::side_up(weight, rank)] = Constant::concat(ups, 1);
  out.side_ranks[weight] = rank;
}

}  // namespace

Adaptation adapt(const std::vector<OpenLora>& loras, LoraMode mode, const LoraTargets& targets,
                 const std::string& family, const std::function<void(const std::string&)>& warn) {
  struct Work {
    std::vector<LoraDelta> deltas;
    std::vector<std::string> where;
  };
  std::map<const LoraTarget*, Work> work;
  for (const OpenLora& lora : loras) {
    const std::string where = printable(lora.file->path(), 400);
    std::vector<std::string> unmatched = lora.file->other_tensors();
    size_t matched = 0;
    // Shapes that do not fit are explained by another family, where there is one.
    const LoraFile::Family its = lora.file->family();
    const bool other = !its.name.empty() && its.name != family;
    std::map<const LoraTarget*, Work> own;
    try {
      for (const LoraLayer& layer : lora.file->layers()) {
        const LoraTarget* target = targets.find(layer.module);
        if (!target) {
          unmatched.push_back(layer.key);
          continue;
        }
        ++matched;
        const double weight = target->component == "unet" ? lora.unet_weight : lora.text_weight;
        const LoraDelta delta{&layer, weight};
        merged_weight({delta}, *target, {where});  // throws for shapes that do not fit
        merged_bias({delta}, *target, {where});
        if (weight == 0) continue;
        own[target].deltas.push_back(delta);
        own[target].where.push_back(where);
      }
    } catch (const Error& error) {
      if (!other || error.code() != ErrorCode::shape_mismatch) throw;
      const std::string what = error.what();
      fail(ErrorCode::unsupported, "{}: expected a LoRA for {}, found one for {} ({}): {}", where, family, its.name,
           its.reason, what.starts_with(where + ": ") ? what.substr(where.size() + 2) : what);
    }
    if (matched == 0 || (other && !unmatched.empty()))
      fail(ErrorCode::unsupported, "{}: expected a LoRA for {}, found one for {}; {} of {} layers match nothing: {}",
           where, family, other ? fmt::format("{} ({})", its.name, its.reason) : "another model", unmatched.size(),
           matched + unmatched.size(), list(unmatched));
    if (!unmatched.empty() && warn)
      warn(fmt::format("{}: left out, as the model has nothing of these names: {}", where, list(unmatched)));
    for (auto& [target, part] : own) {
      Work& all = work[target];
      all.deltas.insert(all.deltas.end(), part.deltas.begin(), part.deltas.end());
      all.where.insert(all.where.end(), part.where.begin(), part.where.end());
    }
  }
  Adaptation made;
  ComponentReplacements& out = made.replacements;
  for (const auto& [target, all] : work) {
    const int64_t rank = mode == LoraMode::runtime ? side_rank(all.deltas, *target) : 0;
    if (rank > 0)
      add_side_branch(all.deltas, *target, all.where, rank, made);
    else if (const ConstantPtr weight = merged_weight(all.deltas, *target, all.where))
      out[target->component][target->module + ".weight"] = weight;
    if (const ConstantPtr bias = merged_bias(all.deltas, *target, all.where))
      out[target->component][target->module + ".bias"] = bias;
  }
  return made;
}

}  // namespace easel::pipelines
