// Group normalization of a picture that is in memory only a band of rows at a time: the same kernels, called with other
// arguments. One call {x, weight, bias} → y becomes, with C channels and G groups,
//   moments       {x band [1, rows, W, C]}               → [1, G, 3] f64: BandMoments
//   coefficients  {moments [bands, G, 3], weight, bias}  → [3, C] f32: mean, factor, offset
//   apply         {x band [1, rows, W, C], [3, C] f32}   → act((x − mean) · factor + offset), shape of the band
// Only executors make such calls; graphs know the whole operator. Moments of one band that is the whole picture lead to
// the same bits as the single call; those of several differ by roundings in double.
#pragma once

#include "ops/kernel.h"

namespace easel::ops {

struct BandMoments {
  double mean = 0, squares = 0, count = 0;  ///< squares: Σ (x − mean)²; count: elements
};

enum class GroupNormForm { whole, moments, coefficients, apply };

/// Which of the calls above this is. `whole` where it is none of them.
inline GroupNormForm group_norm_form(const OpCall& call) noexcept {
  if (call.inputs.size() == 1) return GroupNormForm::moments;
  if (call.inputs.size() == 2) return GroupNormForm::apply;
  return call.output.shape == call.inputs[0].shape ? GroupNormForm::whole : GroupNormForm::coefficients;
}

}  // namespace easel::ops
