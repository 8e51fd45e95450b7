// Convolution with stride 1 to a few channels, like the last ones of a UNet and of a decoder.
//
// Vectors hold output channels, so three of them would leave most lanes empty. Here every tap of every output is a
// column of one matrix product instead: P = X · W with X [pixels][C] and W [C][taps · O], which reads each pixel once.
// Then y[pixel][o] = Σ over taps of P[pixel + tap][tap · O + o].
namespace easel::ops {
namespace {

/// The weight [O, C, kh, kw] as that of a linear layer with taps · O outputs.
inline ArgType taps_as_outputs(const ArgType& w) {
  ArgType out = w;
  out.shape = {w.shape[2] * w.shape[3] * w.shape[0], w.shape[1]};
  out.strides = contiguous_strides(out.shape);
  return out;
}

int64_t taps_bytes(const ArgType& type) noexcept { return Panels(taps_as_outputs(type)).bytes(); }

template <typename Element>
void pack_taps(const ArgType& type, const Element* source, Element* rows, uint32_t* target) {
  const int64_t outputs = type.shape[0], channels = type.shape[1], taps = type.shape[2] * type.shape[3];
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t t = 0; t < taps; ++t) rows[(t * outputs + o) * channels + c] = source[(o * channels + c) * taps + t];
  const Panels panels(taps_as_outputs(type));
  for (int64_t panel = 0; panel < panels.count(); ++panel) pack_panel(panels, panel, rows, target);
}

void pack_all_taps(const ArgType& type, const void* source, void* target, ThreadPool&) noexcept {
  // A few hundred kilobytes.
  const auto rows = std::make_unique<std::byte[]>(static_cast<size_t>(type.shape.numel() * size_of(type.dtype)));
  if (type.dtype == DType::f32)
    pack_taps(type, static_cast<const uint32_t*>(source), reinterpret_cast<uint32_t*>(rows.get()),
              static_cast<uint32_t*>(target));
  else
    pack_taps(type, static_cast<const uint16_t*>(source), reinterpret_cast<uint16_t*>(rows.get()),
              static_cast<uint32_t*>(target));
}

#define EASEL_TAPS_NAME (kPanel == 64 ? "taps64" : kPanel == 16 ? "taps16" : "taps8")
const PackFormat kTapsFormat = {EASEL_TAPS_NAME, taps_bytes, pack_all_taps};
#undef EASEL_TAPS_NAME

const PackFormat* taps_format(const OpCall&, int index) noexcept { return index == 1 ? &kTapsFormat : nullptr; }

struct FewOutputsPlan {
  const Conv2dAttrs& attrs;
  const ArgType &x, &w, &out;
  Words words;
  Panels outputs, columns;
  Pieces pieces;
  int64_t kernel_h, kernel_w;
  int64_t product_row;                ///< floats of P per pixel; reading a vector at the last tap stays inside
  int64_t staged_row;                 ///< words per pixel of the copy of x in bf16; 0: x is read where it is
  int64_t height, tasks_per_picture;  ///< rows of results of a task

  FewOutputsPlan(const OpCall& call, int threads)
      : attrs(call.as<Conv2dAttrs>()),
        x(call.inputs[0]),
        w(call.inputs[1]),
        out(call.output),
        words(words_of(w)),
        outputs(w),
        columns(taps_as_outputs(w)),
        pieces(1, staged_words(words, w.shape[1]), 0, elements_per_word(words)),
        kernel_h(w.shape[2]),
        kernel_w(w.shape[3]) {
    product_row = round_up(columns.columns(), kW) + kW;
    const bool in_place = words != Words::bf16_dot || (x.dtype == DType::bf16 && w.shape[1] % 2 == 0);
    staged_row = in_place ? 0 : round_up(staged_words(words, w.shape[1]), 16) + 16;
    // How rows are shared out may follow the threads: no sum is cut by it. Neighbouring tasks both make the rows
    // between them.
    const int64_t rows = std::max<int64_t>(1, out.shape[0] * out.shape[1]);
    height = std::clamp<int64_t>(rows / (4 * int64_t{threads}), 8, 64);
    tasks_per_picture = (out.shape[1] + height - 1) / height;
  }

  int64_t product_line() const { return x.shape[2] * product_row; }
  int64_t pixel_words() const { return round_up(staged_words(words, w.shape[1]), 16); }
  int64_t block_bytes() const { return round_up(block_scratch_bytes(words, pieces), 64); }
  int64_t staged_bytes() const { return round_up(kBlockRows * staged_row * 4, 64); }
  int64_t thread_bytes() const {
    return block_bytes() + staged_bytes() + round_up((kernel_h * product_line() + product_row + pixel_words()) * 4, 64);
  }
};

/// Rows of pixels → their rows of P, which `rows.out` points to.
template <Words words>
void multiply_pixels(const FewOutputsPlan& plan, const BlockRows& rows, const uint32_t* packed, std::byte* scratch) {
  multiply_block<words>(rows, plan.pieces, plan.columns, packed, 0, plan.columns.count(), Epilogue{}, scratch);
}

/// One line of x → its line of P.
template <Words words, typename X>
void multiply_line(const FewOutputsPlan& plan, const X* line, const uint32_t* packed, std::byte* scratch,
                   float* product) {
  auto* staged = reinterpret_cast<float*>(scratch + plan.block_bytes());
  const int64_t channels = plan.x.shape[3], pixel = plan.x.strides[2];
  for (int64_t first = 0; first < plan.x.shape[2]; first += kBlockRows) {
    BlockRows rows;
    rows.count = static_cast<int>(std::min<int64_t>(kBlockRows, plan.x.shape[2] - first));
    for (int i = 0; i < rows.count; ++i) {
      const X* source = line + (first + i) * pixel;
      rows.a[i] = reinterpret_cast<const float*>(source);
      if (plan.staged_row != 0) {
        stage_row<words>(source, channels, staged + i * plan.staged_row);
        rows.a[i] = staged + i * plan.staged_row;
      }
      rows.out[i] = product + (first + i) * plan.product_row;
      rows.residual[i] = rows.channel_bias[i] = nullptr;
    }
    multiply_pixels<words>(plan, rows, packed, scratch);
  }
}

template <Words words, typename X>
void few_outputs_run(const KernelArgs& args, const FewOutputsPlan& plan) {
  const Conv2dAttrs& attrs = plan.attrs;
  const ConvPointers pointers(args);
  const Epilogue epilogue = pointers.epilogue(attrs);
  const X* x = static_cast<const X*>(args.inputs[0]);
  const auto* packed = static_cast<const uint32_t*>(args.inputs[1]);
  const int64_t outputs = plan.outputs.outputs, lines = plan.x.shape[1], wide = plan.x.shape[2];
  args.pool.parallel_for(plan.out.shape[0] * plan.tasks_per_picture, [&](int64_t task, int thread) {
    const int64_t b = task / plan.tasks_per_picture, y0 = task % plan.tasks_per_picture * plan.height;
    const int64_t y1 = std::min(y0 + plan.height, plan.out.shape[1]);
    std::byte* scratch = args.scratch + thread * plan.thread_bytes();
    float* ring = reinterpret_cast<float*>(scratch + plan.block_bytes() + plan.staged_bytes());
    // What a pixel of the padding gives: zeros, unless a weight is not finite.
    float *outside = ring + plan.kernel_h * plan.product_line(), *zeros = outside + plan.product_row;
    std::memset(zeros, 0, static_cast<size_t>(plan.pixel_words()) * 4);
    BlockRows padding;
    padding.count = 1;
    padding.a[0] = zeros, padding.out[0] = outside;
    padding.residual[0] = padding.channel_bias[0] = nullptr;
    multiply_pixels<words>(plan, padding, packed, scratch);
    const auto product = [&](int64_t line) { return ring + line % plan.kernel_h * plan.product_line(); };
    int64_t next = std::max<int64_t>(0, y0 - attrs.pad_top);  // the first line that is not in the ring
    for (int64_t y = y0; y < y1; ++y) {
      const int64_t top = y - attrs.pad_top, bottom = std::min(top + plan.kernel_h, lines);
      for (; next < bottom; ++next)
        multiply_line<words>(plan, x + b * plan.x.strides[0] + next * plan.x.strides[1], packed, scratch,
                             product(next));
      for (int64_t first = 0; first < plan.out.shape[2]; first += kMaxTileRows) {
        const int count = static_cast<int>(std::min<int64_t>(kMaxTileRows, plan.out.shape[2] - first));
        BlockRows rows;
        alignas(64) float sums[kMaxTileRows * kW];
        for (int i = 0; i < count; ++i) {
          const int64_t left = first + i - attrs.pad_left;
          F sum = zero();
          for (int64_t ky = 0; ky < plan.kernel_h; ++ky) {
            const bool inside = top + ky >= 0 && top + ky < lines;
            const float* line = inside ? product(top + ky) : nullptr;
            for (int64_t kx = 0; kx < plan.kernel_w; ++kx) {
              const bool pixel = inside && left + kx >= 0 && left + kx < wide;
              const float* at = pixel ? line + (left + kx) * plan.product_row : outside;
              sum = sum + load(at + (ky * plan.kernel_w + kx) * outputs);
            }
          }
          store(sums + i * kW, sum);
          pointers.set_row(rows, i, b, y, first + i);
        }
        finish_tile(epilogue, rows, 0, count, sums, plan.outputs, 0);
      }
    }
    if (epilogue.stream) end_stores();
  });
}

void run_few_outputs(const KernelArgs& args) noexcept {
  const FewOutputsPlan plan(args.call, args.pool.threads());
  with_input(plan.words, plan.x.dtype, [&]<Words words, typename X>() { few_outputs_run<words, X>(args, plan); });
}

int64_t few_outputs_scratch(const OpCall& call, int threads) noexcept {
  return threads * FewOutputsPlan(call, threads).thread_bytes();
}

const char* reject_few_outputs(const OpCall& call) noexcept {
  if (const char* reason = reject(call)) return reason;
  if (call.inputs[1].encoding != BlockFormat::none) return "the weight is packed in blocks";
  const Shape& w = call.inputs[1].shape;
  if (call.as<Conv2dAttrs>().stride != 1) return "the stride is not 1";
  if (w[2] * w[3] == 1) return "a single tap is a linear layer";
  if (w[0] > kW / 2) return "there are enough outputs to fill vectors";
  if (w[1] < 32) return "few channels are faster in one sum over all taps";
  return nullptr;
}

}  // namespace

EASEL_ISA_KERNEL_SUFFIX(conv2d, few_outputs) = {.name = EASEL_ISA_NAME "_few_outputs",
                                                .isa = kUnitIsa,
                                                .reject = reject_few_outputs,
                                                .run = run_few_outputs,
                                                .format = taps_format,
                                                .scratch_bytes = few_outputs_scratch,
                                                .in_place = 0b111100,
                                                .strided_output = true};

}  // namespace easel::ops
