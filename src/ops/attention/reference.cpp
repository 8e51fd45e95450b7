// The reference of attention: the formula of attention.h, head by head, in double.
#include <cmath>
#include <limits>
#include <vector>

#include "ops/isa.h"

namespace easel::ops {
namespace {

const char* reject(const OpCall& call) noexcept {
  for (const ArgType& input : call.inputs)
    if (input.dtype != DType::f32) return "needs f32 inputs";
  return nullptr;
}

/// One query against all keys of its head. scores: [T] working memory.
void attend(const OpCall& call, const float* q, const float* k, const float* v, int64_t head_size, int64_t keys,
            double* scores, double* sums, float* y) noexcept {
  const double scale = call.as<AttentionAttrs>().scale;
  const Shape &qs = call.inputs[0].strides, &ks = call.inputs[1].strides, &vs = call.inputs[2].strides;
  double largest = -std::numeric_limits<double>::infinity();
  for (int64_t t = 0; t < keys; ++t) {
    double dot = 0;
    for (int64_t d = 0; d < head_size; ++d) dot += double(q[d * qs[2]]) * k[t * ks[1] + d * ks[2]];
    scores[t] = dot * scale;
    if (scores[t] > largest) largest = scores[t];
  }
  double total = 0;
  for (int64_t d = 0; d < head_size; ++d) sums[d] = 0;
  for (int64_t t = 0; t < keys; ++t) {
    const double weight = std::exp(scores[t] - largest);
    total += weight;
    for (int64_t d = 0; d < head_size; ++d) sums[d] += weight * v[t * vs[1] + d * vs[2]];
  }
  for (int64_t d = 0; d < head_size; ++d) y[d] = static_cast<float>(sums[d] / total);
}

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  return threads * (call.inputs[1].shape[1] + call.output.shape[2]) * int64_t{sizeof(double)};
}

void run(const KernelArgs& args) noexcept {
  const OpCall& call = args.call;
  const auto& attrs = call.as<AttentionAttrs>();
  const ArgType &q = call.inputs[0], &k = call.inputs[1], &v = call.inputs[2];
  const int64_t queries = q.shape[1], keys = k.shape[1], channels = q.shape[2], head_size = channels / attrs.heads;
  const auto* qp = static_cast<const float*>(args.inputs[0]);
  const auto* kp = static_cast<const float*>(args.inputs[1]);
  const auto* vp = static_cast<const float*>(args.inputs[2]);
  auto* y = static_cast<float*>(args.output);
  args.pool.parallel_for(q.shape[0] * queries * attrs.heads, [&](int64_t task, int thread) {
    const int64_t h = task % attrs.heads, i = task / attrs.heads % queries, b = task / attrs.heads / queries;
    const int64_t kb = k.shape[0] == 1 ? 0 : b, c = h * head_size;
    double* scores = reinterpret_cast<double*>(args.scratch) + thread * (keys + channels);
    attend(call, qp + b * q.strides[0] + i * q.strides[1] + c * q.strides[2], kp + kb * k.strides[0] + c * k.strides[2],
           vp + kb * v.strides[0] + c * v.strides[2], head_size, attrs.causal ? i + 1 : keys, scores, scores + keys,
           y + (b * queries + i) * channels + c);
  });
}

}  // namespace

EASEL_KERNEL(attention_reference) = {.name = "reference", .reject = reject, .run = run, .scratch_bytes = scratch_bytes};

}  // namespace easel::ops
