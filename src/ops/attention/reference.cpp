// The reference of attention: the formula of attention.h, head by head, in double.
#include <cmath>
#include <limits>
#include <vector>

#include "ops/gemm/reference.h"
#include "ops/isa.h"
#include "tensor/convert.h"

namespace easel::ops {
namespace {

const char* reject(const OpCall& call) noexcept {
  for (const ArgType& input : call.inputs)
    if (input.dtype != DType::f32 && input.dtype != DType::bf16) return "needs f32 or bf16 inputs";
  return nullptr;
}

/// Rows of an argument, beginning at one batch and head.
struct Rows {
  ElementReader element;
  const Shape& strides;
  int64_t first;
  double operator()(int64_t row, int64_t d) const { return element(first + row * strides[1] + d * strides[2]); }
};

/// Query i against all keys of its head. scores: [T], sums: [D] working memory.
void attend(double scale, const Rows& q, int64_t i, const Rows& k, const Rows& v, int64_t head_size, int64_t keys,
            double* scores, double* sums) noexcept {
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t t = 0; t < keys; ++t) {
    double dot = 0;
    for (int64_t d = 0; d < head_size; ++d) dot += q(i, d) * k(t, d);
    scores[t] = dot * scale;
    if (scores[t] > largest) largest = scores[t];
  }
  double total = 0;
  for (int64_t d = 0; d < head_size; ++d) sums[d] = 0;
  for (int64_t t = 0; t < keys; ++t) {
    const double weight = std::exp(scores[t] - largest);
    total += weight;
    for (int64_t d = 0; d < head_size; ++d) sums[d] += weight * v(t, d);
  }
  for (int64_t d = 0; d < head_size; ++d) sums[d] /= total;
}

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  return threads * (call.inputs[1].shape[1] + call.output.shape[2]) * int64_t{sizeof(double)};
}

void run(const KernelArgs& args) noexcept {
  const OpCall& call = args.call;
  const auto& attrs = call.as<AttentionAttrs>();
  const ArgType &q = call.inputs[0], &k = call.inputs[1];
  const int64_t queries = q.shape[1], keys = k.shape[1], channels = q.shape[2], head_size = channels / attrs.heads;
  args.pool.parallel_for(q.shape[0] * queries * attrs.heads, [&](int64_t task, int thread) {
    const int64_t h = task % attrs.heads, i = task / attrs.heads % queries, b = task / attrs.heads / queries;
    const int64_t c = h * head_size;
    const auto rows = [&](size_t index) {
      const ArgType& type = call.inputs[index];
      const int64_t first = (type.shape[0] == 1 ? 0 : b) * type.strides[0] + c * type.strides[2];
      return Rows{{args.inputs[index], type.dtype}, type.strides, first};
    };
    double* scores = reinterpret_cast<double*>(args.scratch) + thread * (keys + channels);
    double* sums = scores + keys;
    attend(attrs.scale, rows(0), i, rows(1), rows(2), head_size, attrs.causal ? i + 1 : keys, scores, sums);
    for (int64_t d = 0; d < head_size; ++d)
      store_from_double(args.output, call.output.dtype, (b * queries + i) * channels + c + d, sums[d]);
  });
}

}  // namespace

EASEL_KERNEL(attention_reference) = {.name = "reference", .reject = reject, .run = run, .scratch_bytes = scratch_bytes};

}  // namespace easel::ops
