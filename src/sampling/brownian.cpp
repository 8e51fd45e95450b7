#include "sampling/brownian.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "base/fail.h"

namespace easel::sampling {

namespace {

constexpr size_t kPoolSize = 24;

// The words that a pool is mixed from.
struct Words {
  std::array<uint32_t, kPoolSize + 4> values{};
  size_t count = 0;

  // One word at least, least significant first.
  void append(uint64_t value) {
    values[count++] = static_cast<uint32_t>(value);
    if (value >> 32) values[count++] = static_cast<uint32_t>(value >> 32);
  }
};

// Python's round(x, 6): the double nearest to the correctly rounded decimal.
double round6(double x) {
  const std::string text = fmt::format("{:.6f}", x);
  double out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace

std::array<uint32_t, 4> seed_sequence(uint64_t entropy, std::span<const uint64_t> spawn_key) {
  Words words;
  words.append(entropy);
  if (!spawn_key.empty()) words.count = kPoolSize;
  for (const uint64_t key : spawn_key) words.append(key);

  uint32_t hash = 0x43b0d7e5u;
  const auto hashed = [&hash](uint32_t value) {
    value ^= hash;
    hash *= 0x931e8875u;
    value *= hash;
    return value ^ (value >> 16);
  };
  const auto mixed = [](uint32_t x, uint32_t y) {
    const uint32_t value = 0xca01f9ddu * x - 0x4973f715u * y;
    return value ^ (value >> 16);
  };
  std::array<uint32_t, kPoolSize> pool;
  for (size_t i = 0; i < kPoolSize; ++i) pool[i] = hashed(words.values[i]);
  for (size_t from = 0; from < kPoolSize; ++from)
    for (size_t to = 0; to < kPoolSize; ++to)
      if (from != to) pool[to] = mixed(pool[to], hashed(pool[from]));
  for (size_t from = kPoolSize; from < words.count; ++from)
    for (uint32_t& value : pool) value = mixed(value, hashed(words.values[from]));

  std::array<uint32_t, 4> state;
  hash = 0x8b51f9ddu;
  for (size_t i = 0; i < state.size(); ++i) {
    uint32_t value = pool[i] ^ hash;
    hash *= 0x58f38dedu;
    value *= hash;
    state[i] = value ^ (value >> 16);
  }
  return state;
}

BrownianTree::BrownianTree(double low, double high, uint64_t seed, size_t values, const NoiseSource& normals)
    : seed_(seed), normals_(normals), root_{round6(low), round6(high), 0, 0}, whole_(values) {
  normals_.seeded_randn(seed_sequence(seed, {})[0], whole_);
  const auto deviation = static_cast<float>(std::sqrt(high - low));
  for (float& value : whole_) value *= deviation;
}

void BrownianTree::noise(double from, double to, std::span<float> out) {
  const double low = std::clamp(round6(std::min(from, to)), root_.begin, root_.end);
  const double high = std::clamp(round6(std::max(from, to)), root_.begin, root_.end);
  std::fill(out.begin(), out.end(), 0.0f);
  if (!(low < high)) return;
  empty_ = true;
  add(root_, whole_, low, high, out);
  const auto deviation = static_cast<float>(std::sqrt(std::fabs(to - from)));
  const float divisor = to < from ? -deviation : deviation;
  for (float& value : out) value /= divisor;
}

void BrownianTree::add(const Node& node, std::span<const float> whole, double from, double to, std::span<float> out) {
  if (from == node.begin && to == node.end) {
    for (size_t j = 0; j < out.size(); ++j) out[j] = empty_ ? whole[j] : out[j] + whole[j];
    empty_ = false;
    return;
  }
  const double middle = round6(0.5 * (node.end + node.begin));
  if (halves_.size() <= node.depth) halves_.resize(node.depth + 1);
  std::vector<float>& half = halves_[node.depth];
  half.resize(whole.size());
  const std::array<uint64_t, 2> key = {node.path, node.depth};
  normals_.seeded_randn(seed_sequence(seed_, key)[0], half);
  const double left = middle - node.begin, right = node.end - middle, inverse = 1 / (node.end - node.begin);
  const auto length = static_cast<float>(left), scale = static_cast<float>(inverse),
             deviation = static_cast<float>(std::sqrt(left * right * inverse));
  for (size_t j = 0; j < half.size(); ++j) half[j] = length * whole[j] * scale + deviation * half[j];

  const size_t depth = node.depth;
  if (from < middle) add({node.begin, middle, 2 * node.path, depth + 1}, half, from, std::min(to, middle), out);
  if (to > middle) {
    std::vector<float>& rest = halves_[depth];  // the vector of vectors may have grown
    for (size_t j = 0; j < rest.size(); ++j) rest[j] = whole[j] - rest[j];
    add({middle, node.end, 2 * node.path + 1, depth + 1}, rest, std::max(from, middle), to, out);
  }
}

}  // namespace easel::sampling
