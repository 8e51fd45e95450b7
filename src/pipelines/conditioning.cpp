#include "pipelines/conditioning.h"

#include <cstring>

namespace easel::pipelines {

std::vector<int> Conditioning::fill(int step, const Rows& rows) {
  std::vector<PromptText> texts;
  if (negative_) texts.push_back(negative_->at(0, step));
  for (size_t i = 0; i < prompt_.branches.size(); ++i) texts.push_back(prompt_.at(i, step));
  std::vector<int> changed;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!written_.empty() && written_[i] == texts[i]) continue;
    changed.push_back(static_cast<int>(i));
    const Tensor states = rows(changed.back()), embedding = encoder_.embedding(texts[i]);
    std::byte* to = states.raw();
    for (int64_t done = 0; done < states.bytes(); done += embedding.bytes())
      std::memcpy(to + done, embedding.raw(), static_cast<size_t>(embedding.bytes()));
  }
  written_ = std::move(texts);
  return changed;
}

void Conditioning::mix(const Rows& rows) const {
  if (!prompt_.mixed()) return;
  const Tensor negative = rows(0), first = rows(1);
  const float* origin = negative.data<float>();
  float* mixed = first.data<float>();
  for (int64_t i = 0; i < first.numel(); ++i)
    mixed[i] = origin[i] + static_cast<float>(prompt_.branches[0].weight) * (mixed[i] - origin[i]);
  for (size_t k = 1; k < prompt_.branches.size(); ++k) {
    const Tensor other = rows(static_cast<int>(k) + 1);
    const float* prediction = other.data<float>();
    const auto weight = static_cast<float>(prompt_.branches[k].weight);
    for (int64_t i = 0; i < first.numel(); ++i) mixed[i] += weight * (prediction[i] - origin[i]);
  }
}

}  // namespace easel::pipelines
