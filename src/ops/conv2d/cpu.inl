// Direct convolution on packed weights: y = act(conv(x, w) + bias + channel_bias) + residual.
//
// No im2col: on a channels-last picture with its padding in place, the kw·C values under one kernel row are one run of
// memory, so a pixel is a row of kh runs for tile.inl, and neighbouring pixels are rows stride·C apart. Padding is
// put in place in a copy: of one tile of pixels per thread (which stays in cache), or of the whole input where it is
// so small that several ranges of output channels must share it.
#include "ops/conv2d/conv2d.h"
#include "ops/gemm/gemm.inl"

#include "ops/conv2d/pointers.inl"

#include "ops/conv2d/winograd.inl"

namespace easel::ops {
namespace {

/// Output pixels of `pictures` × `height` × `width`, and where they begin.
struct Region {
  int64_t picture = 0, pictures = 1, y = 0, height = 1, x = 0, width = 1;
};

struct ConvPlan {
  const Conv2dAttrs& attrs;
  const ArgType &x, &w, &out;
  Words words;
  Panels panels;
  int64_t kernel_h, kernel_w, channels;  ///< channels of the staged copy, in words
  bool direct;                           ///< x is read where it is: one tap, no padding, products in f32
  int64_t tile_w, tile_h, tile_b, tiles_x, tiles_y, tiles_b, ranges;

  ConvPlan(const OpCall& call, int threads)
      : attrs(call.as<Conv2dAttrs>()),
        x(call.inputs[0]),
        w(call.inputs[1]),
        out(call.output),
        words(words_of(w)),
        panels(w),
        kernel_h(w.shape[2]),
        kernel_w(w.shape[3]),
        channels(staged_words(words, panels.padded_channels())) {
    direct = words != Words::bf16_dot && panels.taps == 1 && attrs.pad_top == 0 && attrs.pad_left == 0 &&
             attrs.pad_bottom == 0 && attrs.pad_right == 0;
    // Tiles of a block of rows: whole lines if they fit, several pictures if these are small.
    const int64_t b = std::max<int64_t>(1, out.shape[0]), h = std::max<int64_t>(1, out.shape[1]),
                  wide = std::max<int64_t>(1, out.shape[2]);
    const auto even = [](int64_t size, int64_t parts) { return (size + parts - 1) / parts; };
    const int64_t most = block_rows_for(b * h * wide * panels.count(), threads);
    tile_w = even(wide, even(wide, std::min<int64_t>(64, most)));
    tile_h = even(h, even(h, std::max<int64_t>(1, most / tile_w)));
    tile_b = tile_w == wide && tile_h == h ? even(b, even(b, std::max<int64_t>(1, most / (h * wide)))) : 1;
    tiles_x = even(out.shape[2], tile_w), tiles_y = even(out.shape[1], tile_h), tiles_b = even(out.shape[0], tile_b);
    // How tasks are cut may follow the threads: no sum is cut by it.
    ranges = std::clamp<int64_t>(tasks_for(threads) / std::max<int64_t>(1, tiles()), 1,
                                 std::max<int64_t>(1, panels.count()));
  }

  int64_t tiles() const { return tiles_b * tiles_y * tiles_x; }
  Region tile(int64_t i) const {
    Region r;
    r.x = i % tiles_x * tile_w, r.y = i / tiles_x % tiles_y * tile_h, r.picture = i / tiles_x / tiles_y * tile_b;
    r.width = std::min(tile_w, out.shape[2] - r.x), r.height = std::min(tile_h, out.shape[1] - r.y);
    r.pictures = std::min(tile_b, out.shape[0] - r.picture);
    return r;
  }
  Region whole() const { return {0, out.shape[0], 0, out.shape[1], 0, out.shape[2]}; }

  /// Measures of the padded copy of what a region reads. Lines are not a power of two apart.
  int64_t lines(const Region& r) const { return (r.height - 1) * attrs.stride + kernel_h; }
  int64_t pixels(const Region& r) const { return (r.width - 1) * attrs.stride + kernel_w; }
  int64_t line_words(const Region& r) const { return (pixels(r) * channels + 15) / 16 * 16 + 16; }
  int64_t copy_words(const Region& r) const { return r.pictures * lines(r) * line_words(r); }

  Pieces pieces(int64_t line) const {
    // A single tap is read in place up to its own end, an odd one included.
    return direct ? Pieces(1, panels.channels, 0, elements_per_word(words))
                  : Pieces(kernel_h, kernel_w * channels, line, elements_per_word(words));
  }
  bool staged_at_once() const { return !direct && ranges > 1; }
  int64_t shared_bytes() const { return staged_at_once() && tiles() > 0 ? copy_words(whole()) * 4 : 0; }
  int64_t block_bytes() const { return (block_scratch_bytes(words, pieces(0)) + 63) / 64 * 64; }
  int64_t thread_bytes() const {
    const Region largest{0, tile_b, 0, tile_h, 0, tile_w};
    return block_bytes() + (direct || ranges > 1 ? 0 : (copy_words(largest) * 4 + 63) / 64 * 64);
  }
};

/// One line of the padded copy: line `line` of picture `picture` of the region.
template <Words words, typename X>
void stage_line(const ConvPlan& plan, const X* x, const Region& region, int64_t picture, int64_t line, float* target) {
  const Shape &shape = plan.x.shape, &strides = plan.x.strides;
  const int64_t iy = region.y * plan.attrs.stride + line - plan.attrs.pad_top;
  const int64_t pixels = plan.pixels(region), first = region.x * plan.attrs.stride - plan.attrs.pad_left;
  const int64_t begin = std::clamp<int64_t>(-first, 0, pixels), end = std::clamp(shape[2] - first, begin, pixels);
  const auto clear = [&](int64_t from, int64_t to) {
    std::memset(target + from * plan.channels, 0, static_cast<size_t>((to - from) * plan.channels) * 4);
  };
  if (iy < 0 || iy >= shape[1]) return clear(0, pixels);
  clear(0, begin);
  clear(end, pixels);
  const X* source = x + (region.picture + picture) * strides[0] + iy * strides[1] + (first + begin) * strides[2];
  float* pixel = target + begin * plan.channels;
  if (strides[2] == shape[3] && plan.panels.padded_channels() == shape[3])
    return stage_row<words>(source, (end - begin) * shape[3], pixel);
  for (int64_t i = begin; i < end; ++i, source += strides[2], pixel += plan.channels) {
    stage_row<words>(source, shape[3], pixel);
    // With 16-bit weights in f32 an odd channel count leaves one element of filling.
    if (words != Words::bf16_dot && plan.channels > shape[3]) pixel[plan.channels - 1] = 0;
  }
}

template <Words words, typename X>
void conv_run(const KernelArgs& args, const ConvPlan& plan) {
  const Conv2dAttrs& attrs = plan.attrs;
  const ConvPointers pointers(args);
  const X* x = static_cast<const X*>(args.inputs[0]);
  const auto* packed = static_cast<const uint32_t*>(args.inputs[1]);
  const Epilogue epilogue = pointers.epilogue(attrs);
  const Region whole = plan.whole();
  float* shared = reinterpret_cast<float*>(args.scratch);
  std::byte* thread_scratch = args.scratch + plan.shared_bytes();

  if (plan.staged_at_once()) {
    const int64_t lines = plan.lines(whole), line_words = plan.line_words(whole);
    args.pool.parallel_for(whole.pictures * lines, [&](int64_t i, int) {
      stage_line<words>(plan, x, whole, i / lines, i % lines, shared + i * line_words);
    });
  }
  const int64_t tiles = plan.tiles();
  args.pool.parallel_for(tiles * plan.ranges, [&](int64_t task, int thread) {
    const Region region = plan.tile(task % tiles);
    const int64_t range = task / tiles;
    std::byte* scratch = thread_scratch + thread * plan.thread_bytes();
    float* own = reinterpret_cast<float*>(scratch + plan.block_bytes());
    const Region& copied = plan.staged_at_once() ? whole : region;
    float* copy = plan.staged_at_once() ? shared : own;
    const int64_t lines = plan.lines(copied), line_words = plan.line_words(copied);
    if (!plan.direct && !plan.staged_at_once())
      for (int64_t i = 0; i < region.pictures * lines; ++i)
        stage_line<words>(plan, x, region, i / lines, i % lines, copy + i * line_words);

    BlockRows rows;
    for (int64_t b = region.picture; b < region.picture + region.pictures; ++b)
      for (int64_t oy = region.y; oy < region.y + region.height; ++oy)
        for (int64_t ox = region.x; ox < region.x + region.width; ++ox) {
          const int i = rows.count++;
          const int64_t iy = (oy - copied.y) * attrs.stride, ix = (ox - copied.x) * attrs.stride;
          if (plan.direct)
            rows.a[i] =
                reinterpret_cast<const float*>(x + b * plan.x.strides[0] + oy * attrs.stride * plan.x.strides[1] +
                                               ox * attrs.stride * plan.x.strides[2]);
          else
            rows.a[i] = copy + ((b - copied.picture) * lines + iy) * line_words + ix * plan.channels;
          pointers.set_row(rows, i, b, oy, ox);
        }
    const int64_t count = plan.panels.count();
    multiply_block<words>(rows, plan.pieces(line_words), plan.panels, packed, count * range / plan.ranges,
                          count * (range + 1) / plan.ranges, epilogue, scratch);
  });
}

void run(const KernelArgs& args) noexcept {
  const ConvPlan plan(args.call, args.pool.threads());
  with_input(plan.words, plan.x.dtype, [&]<Words words, typename X>() { conv_run<words, X>(args, plan); });
}

// ---- weights in blocks: expanded into scratch memory, then the row's own work
// -----------------------------------------

OpCall with_expanded_weight(const OpCall& call) {
  OpCall out = call;
  out.inputs[1].encoding = BlockFormat::none;
  return out;
}

int64_t panels_bytes(const OpCall& expanded) { return (Panels(expanded.inputs[1]).bytes() + 63) / 64 * 64; }

template <int64_t (*own)(const OpCall&, int) noexcept>
int64_t expanding_scratch(const OpCall& call, int threads) noexcept {
  if (call.inputs[1].encoding == BlockFormat::none) return own(call, threads);
  const OpCall expanded = with_expanded_weight(call);
  return panels_bytes(expanded) +
         std::max(own(expanded, threads), threads * expanding_floats(Panels(call.inputs[1])) * int64_t{sizeof(float)});
}

template <void (*own)(const KernelArgs&) noexcept>
void expanding_run(const KernelArgs& args) noexcept {
  if (args.call.inputs[1].encoding == BlockFormat::none) return own(args);
  const OpCall expanded = with_expanded_weight(args.call);
  std::byte* rest = args.scratch + panels_bytes(expanded);
  expand_panels(Panels(args.call.inputs[1]), static_cast<const uint8_t*>(args.inputs[1]),
                reinterpret_cast<uint32_t*>(args.scratch), reinterpret_cast<float*>(rest), args.pool);
  std::array<const void*, 6> inputs{};  // x, weight, bias, channel bias, slope, residual
  std::copy_n(args.inputs, args.call.inputs.size(), inputs.begin());
  inputs[1] = args.scratch;
  own({expanded, inputs.data(), args.output, rest, args.pool});
}

const char* reject(const OpCall& call) noexcept {
  const auto& attrs = call.as<Conv2dAttrs>();
  if (attrs.pad_top < 0 || attrs.pad_left < 0 || attrs.pad_bottom < 0 || attrs.pad_right < 0)
    return "a padding is negative";
  return reject_types(call, /*narrow_in=*/true, /*narrow_out=*/true);
}

const PackFormat* format(const OpCall&, int index) noexcept { return index == 1 ? &kPanelFormat : nullptr; }

int64_t scratch_bytes(const OpCall& call, int threads) noexcept {
  const ConvPlan plan(call, threads);
  return plan.shared_bytes() + threads * plan.thread_bytes();
}

const char* reject_winograd(const OpCall& call) noexcept {
  if (const char* reason = reject(call)) return reason;
  return reject_winograd_shape(call);
}

}  // namespace

EASEL_ISA_KERNEL(conv2d) = {.name = EASEL_ISA_NAME,
                            .isa = kUnitIsa,
                            .reject = reject,
                            .run = expanding_run<run>,
                            .format = format,
                            .scratch_bytes = expanding_scratch<scratch_bytes>,
                            .in_place = 0b111100,
                            .strided_output = true};

EASEL_ISA_KERNEL_SUFFIX(conv2d, winograd4) = {.name = EASEL_ISA_NAME "_winograd4",
                                              .isa = kUnitIsa,
                                              .reject = reject_winograd,
                                              .run = expanding_run<winograd<4>>,
                                              .format = format,
                                              .scratch_bytes = expanding_scratch<winograd_scratch<4>>,
                                              .in_place = 0b111100,
                                              .strided_output = true};

#if defined(__AVX512BF16__)
const char* reject_winograd2(const OpCall& call) noexcept {
  if (const char* reason = reject_winograd(call)) return reason;
  const Shape &w = call.inputs[1].shape, &y = call.output.shape;
  if (std::min(w[0], w[1]) >= 128 && y[1] * y[2] >= 576) return "tiles of 4 × 4 are faster for so much work";
  return nullptr;
}

EASEL_ISA_KERNEL_SUFFIX(conv2d, winograd2) = {.name = EASEL_ISA_NAME "_winograd2",
                                              .isa = kUnitIsa,
                                              .reject = reject_winograd2,
                                              .run = expanding_run<winograd<2>>,
                                              .format = format,
                                              .scratch_bytes = expanding_scratch<winograd_scratch<2>>,
                                              .in_place = 0b111100,
                                              .strided_output = true};
#endif

}  // namespace easel::ops

#include "ops/conv2d/few_outputs.inl"
