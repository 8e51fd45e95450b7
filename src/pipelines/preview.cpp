#include "pipelines/preview.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"
#include "pipelines/text_to_image_impl.h"
#include "sampling/random.h"

namespace easel::pipelines {

namespace {

constexpr int64_t kPatches = 8, kPatch = 4;  // patches along an axis, latents along one
constexpr int kRounds = 3;

/// x of a·x = b for a symmetric positive definite n × n matrix; both are used up. Gauss with pivots.
std::vector<double> solve(std::vector<double> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t k = 0; k < n; ++k) {
    size_t pivot = k;
    for (size_t i = k; i < n; ++i)
      if (std::abs(a[i * n + k]) > std::abs(a[pivot * n + k])) pivot = i;
    for (size_t j = 0; j < n; ++j) std::swap(a[k * n + j], a[pivot * n + j]);
    std::swap(b[k], b[pivot]);
    if (a[k * n + k] == 0) continue;  // a latent that says nothing
    for (size_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      for (size_t j = k; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
      b[i] -= factor * b[k];
    }
  }
  for (size_t k = n; k-- > 0;) {
    for (size_t j = k + 1; j < n; ++j) b[k] -= a[k * n + j] * b[j];
    b[k] = a[k * n + k] == 0 ? 0 : b[k] / a[k * n + k];
  }
  return b;
}

}  // namespace

Previewer::Previewer(PreviewSink sink, const PreviewOptions& options, const ModelFiles& files,
                     device::ContextPtr context, DType precision, std::shared_ptr<exec::Arena> arena)
    : sink_(std::move(sink)),
      every_(options.every),
      channels_(files.vae.latent_channels),
      scaling_factor_(files.vae.scaling_factor),
      shift_factor_(files.vae.shift_factor),
      sampling_(sampling::SchedulerConfig(files.scheduler), sampling::TimestepRule::interpolated) {
  if (every_ < 1)
    fail(ErrorCode::invalid_argument, "--preview-every: expected at least 1 step, found {}", options.every);
  if (options.decoder.empty()) return;
  const std::string where = "--preview-vae " + printable(options.decoder, 400);
  const std::optional<VaeFiles> tiny = read_tiny_vae(options.decoder, where);
  if (!tiny) fail(ErrorCode::unsupported, "{}: expected a TAESD, found another file", where);
  if (tiny->config.latent_channels != channels_)
    fail(ErrorCode::invalid_argument, "{}: expected a decoder of {} latent channels, as the model has, found {}", where,
         channels_, tiny->config.latent_channels);
  decoder_scaling_ = tiny->config.scaling_factor;
  decoder_shift_ = tiny->config.shift_factor;
  decoder_ = std::make_unique<Component>(models::autoencoder_tiny_decoder(*tiny->tiny), tiny->weights,
                                         std::move(context), precision, std::move(arena));
}

bool Previewer::prepare(Component& vae_decoder) {
  if (decoder_ || !map_.empty()) return false;
  const int64_t side = kPatches * kPatch;
  const auto session = vae_decoder.session({{"batch", 1}, {"height", side}, {"width", side}});
  const std::span<float> latents = session->tensor("latents").span<float>();
  const Tensor decoded = session->tensor("decoded");
  const int64_t factor = decoded.dim(2) / side, last = decoded.dim(1) - 1;
  const auto n = static_cast<size_t>(channels_ + 1);
  std::vector<double> moments(n * n),
      products[3] = {std::vector<double>(n), std::vector<double>(n), std::vector<double>(n)};
  sampling::TorchGenerator generator(0);
  std::vector<float> values(static_cast<size_t>(channels_ * kPatches * kPatches));
  for (int round = 0; round < kRounds; ++round) {
    generator.randn(values);
    const auto value = [&](int64_t c, int64_t y, int64_t x) {
      return values[static_cast<size_t>((c * kPatches + y) * kPatches + x)];
    };
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t y = 0; y < side; ++y)
        for (int64_t x = 0; x < side; ++x)
          latents[static_cast<size_t>((c * side + y) * side + x)] =
              static_cast<float>(value(c, y / kPatch, x / kPatch) / scaling_factor_ + shift_factor_);
    session->run();
    for (int64_t y = 0; y < kPatches; ++y)
      for (int64_t x = 0; x < kPatches; ++x) {
        std::vector<double> row(n, 1.0);
        for (int64_t c = 0; c < channels_; ++c) row[static_cast<size_t>(c)] = value(c, y, x);
        for (size_t i = 0; i < n; ++i)
          for (size_t j = 0; j < n; ++j) moments[i * n + j] += row[i] * row[j];
        // The middle of a patch is furthest from its neighbours.
        const int64_t from = kPatch / 4 * factor, to = (kPatch - kPatch / 4) * factor;
        for (int64_t colour = 0; colour < 3; ++colour) {
          const float* plane = decoded.data<float>() + std::min(colour, last) * decoded.dim(2) * decoded.dim(3);
          double sum = 0;
          for (int64_t v = from; v < to; ++v)
            for (int64_t u = from; u < to; ++u)
              sum += plane[(y * kPatch * factor + v) * decoded.dim(3) + x * kPatch * factor + u];
          for (size_t i = 0; i < n; ++i)
            products[colour][i] += row[i] * sum / static_cast<double>((to - from) * (to - from));
        }
      }
  }
  for (const std::vector<double>& product : products)
    for (const double entry : solve(moments, product)) map_.push_back(static_cast<float>(entry));
  return true;
}

void Previewer::saw(const sampling::ModelCall& call) {
  clean_.assign(call.output.begin(), call.output.end());
  std::vector<float> sample(call.input.begin(), call.input.end());
  const double sigma = sampling_.sigma(call.timestep);
  // Back to the sample that the network's input is scaled from.
  if (!sampling_.is_flow())
    for (float& value : sample) value *= static_cast<float>(std::sqrt(sigma * sigma + 1));
  sampling_.to_denoised(sigma, sample, clean_);
}

void Previewer::show(int step, const Shape& shape) {
  if (step % every_ != 0 || clean_.empty()) return;
  Preview preview;
  preview.step = step;
  const int64_t item = shape[1] * shape[2] * shape[3];
  for (int64_t i = 0; i < shape[0]; ++i) {
    const float* latents = clean_.data() + i * item;
    preview.pictures.push_back(decoder_ ? by_decoder(latents, shape[2], shape[3])
                                        : by_map(latents, shape[2], shape[3]));
    preview.pictures.back().index = static_cast<int>(i);
  }
  sink_(preview);
}

Picture Previewer::by_map(const float* latents, int64_t height, int64_t width) const {
  const Tensor colours = Tensor::empty(DType::f32, {1, 3, height, width});
  const int64_t plane = height * width;
  for (int64_t colour = 0; colour < 3; ++colour) {
    const float* row = map_.data() + colour * (channels_ + 1);
    for (int64_t p = 0; p < plane; ++p) {
      float sum = row[channels_];
      for (int64_t c = 0; c < channels_; ++c) sum += row[c] * latents[c * plane + p];
      colours.data<float>()[colour * plane + p] = sum;
    }
  }
  return to_picture(colours, 0);
}

Picture Previewer::by_decoder(const float* latents, int64_t height, int64_t width) {
  const auto session = decoder_->session({{"batch", 1}, {"height", height}, {"width", width}});
  const std::span<float> to = session->tensor("latents").span<float>();
  // Latents in the diffusion model's scale are what both decoders share.
  for (size_t k = 0; k < to.size(); ++k) to[k] = static_cast<float>(latents[k] / decoder_scaling_ + decoder_shift_);
  session->run();
  return to_picture(session->tensor("decoded"), 0);
}

int64_t Previewer::bytes(int64_t height, int64_t width, int64_t arena_bytes) {
  if (!decoder_) return 0;
  const exec::ProgramSummary plan = decoder_->plan({{"batch", 1}, {"height", height}, {"width", width}})->summary();
  return plan.weight_bytes + plan.slot_bytes + std::max<int64_t>(0, plan.arena_bytes - arena_bytes);
}

}  // namespace easel::pipelines
