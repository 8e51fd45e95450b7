// The transforms of Winograd's minimal filtering (Lavin & Gray 2015), one vector of channels at a time:
// y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A makes kOut × kOut results of a 3 × 3 filter from (kOut + 2)² products.
//
// kOut = 2: the points 0, ±1, ∞; every factor is a power of two.
// kOut = 4: the points 0, ±1/√2, ±√2, ∞ instead of the usual 0, ±1, ±2, ∞: all factors stay near one, which halves the
// rounding error (relative L2 about 1e-6 in f32, 7e-3 with bf16 products). With m(x) = x(x² − ½)(x² − 2), the rows of
// Bᵀ are the coefficients of m(x)/(x − a), those of G are (1, a, a²)/m′(a), those of Aᵀ the powers of a.

namespace easel::ops {
namespace {

constexpr float kS = 0.70710678118654752440f;  // 1/√2
constexpr float kR = 1.41421356237309504880f;  // √2

/// Bᵀ d, in elements `step` apart.
template <int kOut>
inline void input_transform(const F* d, F* v, int step) {
  if constexpr (kOut == 2) {
    v[0] = d[0] - d[2];
    v[step] = d[1] + d[2];
    v[2 * step] = d[2] - d[1];
    v[3 * step] = d[3] - d[1];
  } else {
    const F even_s = fma(splat(-2.0f), d[2], d[4]), odd_s = splat(kS) * fma(splat(-2.0f), d[1], d[3]);
    const F even_r = fma(splat(-0.5f), d[2], d[4]), odd_r = splat(kR) * fma(splat(-0.5f), d[1], d[3]);
    v[0] = fma(splat(-2.5f), d[2], d[0] + d[4]);
    v[step] = even_s + odd_s;
    v[2 * step] = even_s - odd_s;
    v[3 * step] = even_r + odd_r;
    v[4 * step] = even_r - odd_r;
    v[5 * step] = fma(splat(-2.5f), d[3], d[1] + d[5]);
  }
}

/// G g, in elements `step` apart.
template <int kOut>
inline void filter_transform(const F* g, F* u, int step) {
  if constexpr (kOut == 2) {
    const F even = splat(0.5f) * (g[0] + g[2]), odd = splat(0.5f) * g[1];
    u[0] = g[0];
    u[step] = even + odd;
    u[2 * step] = even - odd;
    u[3 * step] = g[2];
  } else {
    constexpr float kSixth = 1.0f / 6, kThirds = -2.0f / 3;
    const F even_s = splat(kThirds) * fma(splat(0.5f), g[2], g[0]), odd_s = splat(kThirds * kS) * g[1];
    const F even_r = splat(kSixth) * fma(splat(2.0f), g[2], g[0]), odd_r = splat(kSixth * kR) * g[1];
    u[0] = g[0];
    u[step] = even_s + odd_s;
    u[2 * step] = even_s - odd_s;
    u[3 * step] = even_r + odd_r;
    u[4 * step] = even_r - odd_r;
    u[5 * step] = g[2];
  }
}

/// Aᵀ m, in elements `step` apart.
template <int kOut>
inline void output_transform(const F* m, F* y, int step) {
  if constexpr (kOut == 2) {
    y[0] = m[0] + m[1] + m[2];
    y[step] = m[1] - m[2] + m[3];
  } else {
    const F sum_s = m[1] + m[2], difference_s = m[1] - m[2], sum_r = m[3] + m[4], difference_r = m[3] - m[4];
    y[0] = m[0] + sum_s + sum_r;
    y[step] = fma(splat(kR), difference_r, splat(kS) * difference_s);
    y[2 * step] = fma(splat(2.0f), sum_r, splat(0.5f) * sum_s);
    y[3 * step] = fma(splat(2 * kR), difference_r, fma(splat(0.5f * kS), difference_s, m[5]));
  }
}

/// The same in both directions: [rows][columns] of vectors, row-major.
template <int kOut>
inline void input_transform_2d(const F* d, F* v) {
  constexpr int n = kOut + 2;
  F half[n * n];  // [transformed column][row]
#pragma GCC unroll 6
  for (int r = 0; r < n; ++r) input_transform<kOut>(d + r * n, half + r, n);
#pragma GCC unroll 6
  for (int c = 0; c < n; ++c) input_transform<kOut>(half + c * n, v + c, n);
}

template <int kOut>
inline void filter_transform_2d(const F* g, F* u) {
  constexpr int n = kOut + 2;
  F half[3 * n];
#pragma GCC unroll 3
  for (int r = 0; r < 3; ++r) filter_transform<kOut>(g + r * 3, half + r, 3);
#pragma GCC unroll 6
  for (int c = 0; c < n; ++c) filter_transform<kOut>(half + c * 3, u + c, n);
}

template <int kOut>
inline void output_transform_2d(const F* m, F* y) {
  constexpr int n = kOut + 2;
  F half[n * kOut];
#pragma GCC unroll 6
  for (int r = 0; r < n; ++r) output_transform<kOut>(m + r * n, half + r, n);
#pragma GCC unroll 4
  for (int c = 0; c < kOut; ++c) output_transform<kOut>(half + c * n, y + c, kOut);
}

}  // namespace
}  // namespace easel::ops
