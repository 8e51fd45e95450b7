// Upscaling: in tiles where the picture is large, each tile's result in bands of lines.
#include <easel/upscaler.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <mutex>

#include "base/fail.h"
#include "device/cpu/features.h"
#include "exec/profile.h"
#include "pipelines/component.h"
#include "pipelines/requests.h"
#include "pipelines/upscaler_files.h"

namespace easel {

using pipelines::Component;

namespace {

// All of these are fixed numbers: how a picture is cut reaches its last bits, so it may depend on its size alone.
constexpr int64_t kTile = 512, kWholePixels = 768 * 768, kOverlap = 32;
constexpr int64_t kBandBytes = int64_t{192} << 20;  // of the pictures inside the upsampling part
constexpr int64_t kMaxSide = 32768;                 // of a result, as PNG files go

/// A piece of an axis: positions start … start + length − 1 are computed, of which from … to − 1 are kept.
struct Window {
  int64_t start = 0, from = 0, to = 0;
};

/// Windows of one length that cover 0 … size − 1, each kept no nearer than `margin` to an end that is none of the axis.
std::vector<Window> windows(int64_t size, int64_t length, int64_t margin) {
  std::vector<Window> out;
  for (int64_t done = 0; done < size;) {
    const int64_t start = std::max<int64_t>(0, std::min(done - margin, size - length));
    const int64_t to = start + length >= size ? size : start + length - margin;
    out.push_back({start, done, to});
    done = to;
  }
  return out;
}

struct Cut {
  int64_t tile_width = 0, tile_height = 0;  ///< computed, with what is dropped
  std::vector<Window> columns, lines;
  size_t tiles() const { return columns.size() * lines.size(); }
};

uint8_t to_sample(float unit) {
  // Written so that NaN becomes black.
  const float clamped = unit > 0 ? std::min(unit, 1.0f) : 0.0f;
  return static_cast<uint8_t>(std::nearbyint(clamped * 255.0f));
}

int64_t total(const exec::ProgramSummary& plan) { return plan.arena_bytes + plan.slot_bytes; }

}  // namespace

struct Upscaler::Impl {
  Impl(const std::string& path, const UpscalerOptions& options)
      : files(pipelines::read_upscaler(path)), context(std::make_shared<device::Context>(options.threads)) {
    context->cancel = options.cancel;
    info.precision = options.precision;
    const DType dtype = pipelines::chosen_dtype(info.precision, context->isa);
    const auto component = [&](graph::Graph graph) {
      return std::make_unique<Component>(std::move(graph), files.weights, context, dtype, arena);
    };
    if (const auto* rrdb = std::get_if<models::RRDBNetConfig>(&files.config)) {
      body = component(models::rrdb_net_body(*rrdb));
      tail = component(models::rrdb_net_tail(*rrdb));
      unshuffle = rrdb->unshuffle;
      tail_scale = int64_t{1} << rrdb->upsamplings;
      features = rrdb->num_feat;
      info.scale = rrdb->scale();
      info.reach = unshuffle * (15 * rrdb->num_block + 2 + models::rrdb_net_tail_reach);
      info.architecture = fmt::format("RRDBNet, {} blocks of {} features", rrdb->num_block, rrdb->num_feat);
    } else {
      const auto& compact = std::get<models::SRVGGNetConfig>(files.config);
      body = component(models::srvgg_net(compact));
      info.scale = compact.upscale;
      info.reach = compact.reach();
      info.architecture =
          fmt::format("SRVGGNetCompact, {} convolutions of {} features", compact.num_conv, compact.num_feat);
    }
    for (const Component* part : {body.get(), tail.get()})
      for (const graph::Value& value : part ? part->graph().values() : std::vector<graph::Value>())
        if (value.constant && value.constant->kind() == graph::Constant::Kind::weight)
          info.parameters += value.constant->shape().numel();
    info.path = path;
    info.device = fmt::format("cpu ({}, {})", device::cpu_model_name(), to_string(context->isa));
    info.threads = context->pool->threads();
  }

  Cut cut(int64_t width, int64_t height, const UpscaleTiling& tiling) const;
  /// Lines of features that the upsampling part takes at a time, for a tile of this width in features.
  int64_t band_lines(int64_t width, int64_t height) const;
  void run_tile(const Pixels& picture, const Cut& cut, const Window& column, const Window& line, Pixels& result);
  /// Puts lines of one tile's result where they belong. values: [lines, tile width · scale, 3], the first of them being
  /// line `first` of the result.
  void place(const float* values, int64_t first, int64_t lines, const Cut& cut, const Window& column,
             const Window& line, Pixels& result) const;
  Pixels upscale_rgb(const Pixels& picture, const Cut& cut, const std::function<void()>& tile_done);

  pipelines::UpscalerFiles files;
  device::ContextPtr context;
  std::shared_ptr<exec::Arena> arena = std::make_shared<exec::Arena>();
  std::unique_ptr<Component> body, tail;  // the latter where there is an upsampling part of its own
  int64_t unshuffle = 1, tail_scale = 1, features = 0;
  Info info;
  std::mutex mutex;
};

Cut Upscaler::Impl::cut(int64_t width, int64_t height, const UpscaleTiling& tiling) const {
  const auto check = [](const char* what, int64_t value, int64_t max) {
    if (value != UpscaleTiling::kAutomatic && (value < 0 || value > max))
      fail(ErrorCode::invalid_argument, "--{}: expected 0 to {}, found {}", what, max, value);
  };
  check("tile", tiling.tile, kMaxSide);
  check("tile-overlap", tiling.overlap, kMaxSide);
  if (width < 1 || height < 1)
    fail(ErrorCode::invalid_argument, "upscale: expected a picture, found one of {}×{} pixels", width, height);
  if (std::max(width, height) > kMaxSide / info.scale)
    fail(ErrorCode::invalid_argument,
         "upscale: expected a picture of at most {} pixels a side ({} times as many out), "
         "found {}×{}",
         kMaxSide / info.scale, info.scale, width, height);
  // Everything in whole squares of the network's first step.
  const auto up = [&](int64_t size) { return (size + unshuffle - 1) / unshuffle * unshuffle; };
  const int64_t full_width = up(width), full_height = up(height);
  int64_t tile = tiling.tile;
  if (tile == UpscaleTiling::kAutomatic) {
    const int64_t pixels = full_width * full_height / (unshuffle * unshuffle);
    tile = pixels <= kWholePixels ? 0 : kTile * unshuffle;
  }
  if (tile > 0 && tile < 16) fail(ErrorCode::invalid_argument, "--tile: expected 0, or at least 16, found {}", tile);
  const int64_t overlap =
      up(tiling.overlap == UpscaleTiling::kAutomatic ? std::min(info.reach, kOverlap * unshuffle) : tiling.overlap);
  Cut out;
  out.tile_width = tile == 0 ? full_width : std::min(full_width, up(tile) + 2 * overlap);
  out.tile_height = tile == 0 ? full_height : std::min(full_height, up(tile) + 2 * overlap);
  out.columns = windows(full_width, out.tile_width, overlap);
  out.lines = windows(full_height, out.tile_height, overlap);
  return out;
}

int64_t Upscaler::Impl::band_lines(int64_t width, int64_t height) const {
  const int64_t line = 3 * tail_scale * tail_scale * width * features * 4;  // about what is alive at a time
  const int64_t least = 2 * models::rrdb_net_tail_reach + 4;
  return std::min(height, std::max(least, kBandBytes / std::max<int64_t>(1, line)));
}

void Upscaler::Impl::place(const float* values, int64_t first, int64_t lines, const Cut& cut, const Window& column,
                           const Window& line, Pixels& result) const {
  const int64_t scale = info.scale, row = cut.tile_width * scale * 3;
  const int64_t left = column.from * scale, right = std::min(column.to * scale, result.width);
  const int64_t bottom = std::min(line.to * scale, result.height);
  for (int64_t y = std::max(first, line.from * scale); y < std::min(first + lines, bottom); ++y) {
    const float* from = values + (y - first) * row + (left - column.start * scale) * 3;
    uint8_t* to = result.samples.data() + (y * result.width + left) * 3;
    for (int64_t i = 0; i < (right - left) * 3; ++i) to[i] = to_sample(from[i]);
  }
}

void Upscaler::Impl::run_tile(const Pixels& picture, const Cut& cut, const Window& column, const Window& line,
                              Pixels& result) {
  const auto session = body->session({{"batch", 1}, {"height", cut.tile_height}, {"width", cut.tile_width}});
  const std::span<float> sample = session->tensor("sample").span<float>();
  // What a last odd line or column lacks is mirrored, as the published program does.
  const auto inside = [](int64_t at, int64_t size) { return at < size ? at : std::max<int64_t>(0, 2 * size - 2 - at); };
  size_t next = 0;
  for (int64_t y = line.start; y < line.start + cut.tile_height; ++y) {
    const uint8_t* from = picture.samples.data() + inside(y, picture.height) * picture.width * picture.channels;
    for (int64_t x = column.start; x < column.start + cut.tile_width; ++x)
      for (int c = 0; c < 3; ++c)
        sample[next++] = static_cast<float>(from[inside(x, picture.width) * picture.channels + c]) / 255.0f;
  }
  session->run();
  if (!tail) {
    const Tensor made = session->tensor("upscaled");
    return place(made.data<float>(), line.start * info.scale, made.dim(1), cut, column, line, result);
  }
  const Tensor deep = session->tensor("features");
  const int64_t height = deep.dim(1), width = deep.dim(2), lines = band_lines(width, height);
  const auto upsample = tail->session({{"batch", 1}, {"height", lines}, {"width", width}});
  const Tensor rows = deep.reshape({height, width * features});
  for (const Window& band : windows(height, lines, models::rrdb_net_tail_reach)) {
    upsample->bind("features", rows.rows(band.start, band.start + lines).reshape({1, lines, width, features}));
    upsample->run();
    const float* made = upsample->tensor("upscaled").data<float>();
    const int64_t skipped = (band.from - band.start) * tail_scale;
    place(made + skipped * width * tail_scale * 3, line.start * info.scale + band.from * tail_scale,
          (band.to - band.from) * tail_scale, cut, column, line, result);
  }
}

Pixels Upscaler::Impl::upscale_rgb(const Pixels& picture, const Cut& cut, const std::function<void()>& tile_done) {
  Pixels result{picture.width * info.scale, picture.height * info.scale, 3, {}};
  result.samples.resize(static_cast<size_t>(result.width * result.height * 3));
  for (const Window& line : cut.lines)
    for (const Window& column : cut.columns) {
      run_tile(picture, cut, column, line, result);
      tile_done();
    }
  return result;
}

Upscaler::Upscaler(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Upscaler::~Upscaler() = default;
Upscaler::Upscaler(Upscaler&&) noexcept = default;
Upscaler& Upscaler::operator=(Upscaler&&) noexcept = default;

Upscaler Upscaler::load(const std::string& path, const UpscalerOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  auto impl = std::make_unique<Impl>(path, options);
  impl->info.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return Upscaler(std::move(impl));
}

const Upscaler::Info& Upscaler::info() const { return impl_->info; }

Pixels Upscaler::upscale(const Pixels& picture, const UpscaleTiling& tiling,
                         const std::function<void(const UpscaleProgress&)>& progress) {
  if (picture.channels != 3 && picture.channels != 4)
    fail(ErrorCode::invalid_argument, "upscale: expected 3 or 4 channels, found {}", picture.channels);
  if (static_cast<int64_t>(picture.samples.size()) != picture.width * picture.height * picture.channels)
    fail(ErrorCode::invalid_argument, "upscale: expected {}×{}×{} samples, found {}", picture.width, picture.height,
         picture.channels, picture.samples.size());
  const std::lock_guard lock(impl_->mutex);
  const Cut cut = impl_->cut(picture.width, picture.height, tiling);
  const size_t count = static_cast<size_t>(picture.width * picture.height);
  const auto alpha = [&](size_t pixel) { return picture.samples[4 * pixel + 3]; };
  bool varies = false;
  for (size_t i = 1; picture.channels == 4 && i < count; ++i) varies |= alpha(i) != alpha(0);
  UpscaleProgress state{0, static_cast<int>(cut.tiles()) * (varies ? 2 : 1)};
  const auto tile_done = [&] {
    ++state.done;
    if (progress) progress(state);
  };

  const Pixels colours = impl_->upscale_rgb(picture, cut, tile_done);
  if (picture.channels == 3) return colours;
  Pixels veil;
  if (varies) {
    Pixels gray{picture.width, picture.height, 3, std::vector<uint8_t>(3 * count)};
    for (size_t i = 0; i < 3 * count; ++i) gray.samples[i] = alpha(i / 3);
    veil = impl_->upscale_rgb(gray, cut, tile_done);
  }
  Pixels result{colours.width, colours.height, 4, {}};
  result.samples.resize(colours.samples.size() / 3 * 4);
  for (size_t i = 0; i < colours.samples.size() / 3; ++i) {
    std::copy_n(&colours.samples[3 * i], 3, &result.samples[4 * i]);
    // The network may tint a gray picture a little.
    const auto mean = [&](const uint8_t* rgb) { return (rgb[0] + rgb[1] + rgb[2] + 1) / 3; };
    result.samples[4 * i + 3] = varies ? static_cast<uint8_t>(mean(&veil.samples[3 * i])) : alpha(0);
  }
  return result;
}

int64_t Upscaler::working_bytes(int64_t width, int64_t height, const UpscaleTiling& tiling) {
  const std::lock_guard lock(impl_->mutex);
  const Cut cut = impl_->cut(width, height, tiling);
  const exec::ProgramPtr plan =
      impl_->body->plan({{"batch", 1}, {"height", cut.tile_height}, {"width", cut.tile_width}});
  if (!impl_->tail) return total(plan->summary());
  const int64_t deep_height = cut.tile_height / impl_->unshuffle, deep_width = cut.tile_width / impl_->unshuffle;
  const exec::ProgramPtr upsampling =
      impl_->tail->plan({{"batch", 1}, {"height", impl_->band_lines(deep_width, deep_height)}, {"width", deep_width}});
  // One arena serves both.
  return plan->summary().slot_bytes + upsampling->summary().slot_bytes +
         std::max(plan->summary().arena_bytes, upsampling->summary().arena_bytes);
}

void Upscaler::set_launch_sink(const LaunchSink& sink) {
  const std::lock_guard lock(impl_->mutex);
  for (Component* part : {impl_->body.get(), impl_->tail.get()})
    if (part)
      part->set_observer(sink ? exec::report_to(sink, part == impl_->tail.get() ? "tail" : "body")
                              : exec::Session::Observer());
}

}  // namespace easel
