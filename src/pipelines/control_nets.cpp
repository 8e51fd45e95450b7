#include "pipelines/control_nets.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "io/resample.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

// Stands for a file as it is now; of a folder, for the newest file in it.
std::string key_of(const std::string& path) {
  std::error_code error;
  std::string key = path;
  const auto add = [&](const fs::path& file) {
    key +=
        fmt::format("|{}|{}", fs::file_size(file, error), fs::last_write_time(file, error).time_since_epoch().count());
  };
  if (!fs::is_directory(path, error)) {
    add(path);
    return key;
  }
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error))
    if (entry->is_regular_file(error)) files.push_back(entry->path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) add(file);
  return key;
}

// 10^(-1 + i/n), i = 0 … n: torch.logspace(-1, 0, n + 1).
float rising(size_t i, size_t n) {
  return static_cast<float>(std::pow(10.0, static_cast<double>(i) / static_cast<double>(n) - 1.0));
}

}  // namespace

bool ControlUse::acts() const {
  return std::ranges::any_of(scales, [](float scale) { return scale != 0; });
}

bool ControlUse::acts_at(int call, int calls, double progress) const {
  if (calls > 0 && adapts()) {
    const int n = std::min(steps, calls);
    if (start <= 0 && end >= 1) return true;
    return call >= static_cast<int>(n * start) && call < static_cast<int>(n * end);
  }
  if (calls <= 0) return progress >= start && progress <= end;
  const auto n = static_cast<double>(calls);
  return !(call / n < start || (call + 1) / n > end);
}

ControlUse ControlNets::use(const ControlNetInput& input, bool guess_mode, int steps, const std::string& where) {
  const auto finite = [](double x) { return std::isfinite(x) && std::fabs(x) <= 1e4; };
  if (!finite(input.scale))
    fail(ErrorCode::invalid_argument, "--control-scale: expected a number from -10000 to 10000, found {}", input.scale);
  if (!(input.start >= 0 && input.end <= 1 && input.start < input.end))
    fail(ErrorCode::invalid_argument, "--control-start, --control-end: expected 0 ≤ start < end ≤ 1, found {} and {}",
         input.start, input.end);
  if (input.image.width <= 0 || input.image.height <= 0 || !input.image.read)
    fail(ErrorCode::invalid_argument, "{}: expected a control picture, found none", where);
  ControlUse out{open(input.path, where), {}, input.start, input.end, input.image, steps};
  const size_t residuals = out.net->outputs.size();
  if (!input.block_scales.empty() && input.block_scales.size() != residuals)
    fail(ErrorCode::invalid_argument, "--control-block-scales: expected {} numbers ({}) for {}, found {}", residuals,
         out.adapts() ? "one for each feature" : "one for each residual of the way down, and the middle's",
         printable(input.path, 200), input.block_scales.size());
  for (size_t i = 0; i < residuals; ++i) {
    const double own = input.block_scales.empty() ? 1 : input.block_scales[i];
    if (!finite(own))
      fail(ErrorCode::invalid_argument, "--control-block-scales: expected numbers from -10000 to 10000, found {}", own);
    const bool rises = guess_mode && out.net->control_net && !out.net->control_net->global_pool_conditions;
    out.scales.push_back((rises ? rising(i, residuals - 1) : 1.0f) * static_cast<float>(input.scale * own));
  }
  return out;
}

std::shared_ptr<ControlNet> ControlNets::open(const std::string& path, const std::string& where) {
  const std::lock_guard lock(mutex_);
  const std::string key = key_of(path);
  if (const auto found = open_.find(key); found != open_.end()) return found->second;
  auto net = std::make_shared<ControlNet>();
  net->path = path;
  size_t features = 0;
  try {
    const ControlFiles files = read_control(path, where, files_.unet);
    net->control_net = files.control_net;
    net->adapter = files.adapter;
    if (net->control_net) expect_fit(*net->control_net, files_, where);
    if (net->adapter) features = expect_fit(*net->adapter, files_, where);
    net->component = std::make_unique<Component>(
        net->adapter ? models::t2i_adapter(*net->adapter) : models::control_net(*net->control_net), files.weights,
        context_, precision_, arena_, keep_blocks_);
    if (net->control_net)
      net->component->add_variant(kAccumulates, [&] { return models::control_net(*net->control_net, true); });
  } catch (const Error& error) {  // readers of files know nothing of options
    const std::string what = error.what();
    throw Error(error.code(), what.starts_with(where) ? what : "--control-net " + what);
  }
  if (net->adapter) {
    net->outputs = models::t2i_adapter_outputs(*net->adapter);
    net->outputs.resize(features);
    for (size_t i = 0; i < net->outputs.size(); ++i) net->targets.push_back(models::adapter_feature_name(i));
  } else {
    net->outputs = models::control_net_outputs(*net->control_net);
    net->targets = models::control_net_targets(*net->control_net);
  }
  net->component->set_observer(observer_);
  std::erase_if(open_, [&](const auto& entry) { return entry.second->path == path; });  // its file has changed
  return open_[key] = net;
}

void ControlNets::keep_only(const std::vector<ControlUse>& used) {
  const std::lock_guard lock(mutex_);
  for (const auto& entry : open_)
    if (std::ranges::none_of(used, [&](const ControlUse& use) { return use.net == entry.second; }))
      entry.second->component->drop();
}

void ControlNets::set_observer(const exec::Session::Observer& observer) {
  const std::lock_guard lock(mutex_);
  observer_ = observer;
  for (const auto& [key, net] : open_) net->component->set_observer(observer);
}

double ControlNets::compile_seconds() const {
  const std::lock_guard lock(mutex_);
  double sum = 0;
  for (const auto& [key, net] : open_) sum += net->component->compile_seconds();
  return sum;
}

Tensor control_pixels(const PictureSource& source, const Canvas* canvas, int64_t width, int64_t height,
                      int64_t channels) {
  RgbPicture read = source.read();
  if (read.width != source.width || read.height != source.height ||
      read.rgb.size() != static_cast<size_t>(read.width * read.height * 3))
    fail(ErrorCode::io, "--control-image: expected the picture of {}×{} that it was at first, found {}×{}",
         source.width, source.height, read.width, read.height);
  io::Image image{read.width, read.height, 3, std::move(read.rgb)};
  image =
      canvas ? canvas->laid_out_likewise(std::move(image)) : io::resize(image, width, height, io::Resample::lanczos);
  if (channels == 1) image = io::to_gray(image);
  const Tensor out = Tensor::empty(DType::f32, {1, channels, height, width});
  const int64_t plane = width * height;
  float* values = out.data<float>();
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t p = 0; p < plane; ++p)
      values[c * plane + p] = static_cast<float>(image.pixels[static_cast<size_t>(p * channels + c)]) / 255.0f;
  return out;
}

}  // namespace easel::pipelines
