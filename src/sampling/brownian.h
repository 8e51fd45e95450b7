// Noise between two noise levels that is the same path whatever steps are taken: the increments of a Brownian motion.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sampling/sampler.h"

namespace easel::sampling {

/// numpy.random.SeedSequence(entropy, spawn_key=spawn_key, pool_size=24).generate_state(4) (O'Neill's seed_seq).
/// spawn_key: at most two numbers.
std::array<uint32_t, 4> seed_sequence(uint64_t entropy, std::span<const uint64_t> spawn_key);

/// A Brownian motion W on [low, high], as torchsde.BrownianTree(low, …, high, entropy=seed) of tolerance 1e-6 draws it:
/// the whole increment first, then the halves of every interval from the whole: left = W·l/h + √(l·r/h)·N, right =
/// W − left, with a seed of their own from the place in the tree. All times are rounded to six decimals.
class BrownianTree {
 public:
  /// `normals` seeds and draws; it must outlive the tree.
  BrownianTree(double low, double high, uint64_t seed, size_t values, const NoiseSource& normals);

  /// out := W(to) − W(from), divided by √|to − from|. Times outside [low, high] count as its ends.
  void noise(double from, double to, std::span<float> out);

 private:
  struct Node {
    double begin, end;
    uint64_t path;
    size_t depth;
  };
  void add(const Node& node, std::span<const float> whole, double from, double to, std::span<float> out);

  uint64_t seed_;
  const NoiseSource& normals_;
  Node root_;
  std::vector<float> whole_;
  std::vector<std::vector<float>> halves_;  // by depth: the increment of the child being visited
  bool empty_ = true;                       // nothing added to `out` yet
};

}  // namespace easel::sampling
