// The control networks of a pipeline: opened once, and what a request wants of them.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <easel/control.h>

#include "pipelines/canvas.h"
#include "pipelines/component.h"
#include "pipelines/control_files.h"

namespace easel::pipelines {

/// A ControlNet or T2I-Adapter that is open. The former's Component has the variant kAccumulates beside the plain one.
struct ControlNet {
  std::string path;
  std::optional<models::ControlNetConfig> control_net;  ///< either this …
  std::optional<models::T2IAdapterConfig> adapter;      ///< … or this
  std::unique_ptr<Component> component;
  /// Names of what it gives, here and in the UNet: residuals, the middle's last, or features.
  std::vector<std::string> outputs, targets;
  int64_t picture_channels() const { return adapter ? adapter->in_channels : control_net->conditioning_channels; }
};
inline constexpr const char* kAccumulates = "accumulates";

/// One in a request, checked, with its factors.
struct ControlUse {
  std::shared_ptr<ControlNet> net;
  std::vector<float> scales;  ///< of each residual or feature, all that multiplies it
  double start = 0, end = 1;
  PictureSource image;
  int steps = 0;  ///< of the request; adapters count by them, as diffusers does, and not by runs

  bool adapts() const { return net->adapter.has_value(); }

  bool acts() const;
  /// Whether it acts in run `call` of `calls` of the denoiser; where only the run can tell how many there are (0), by
  /// `progress` through the trained timesteps, 0 … 1.
  bool acts_at(int call, int calls, double progress) const;
};

/// Thread-safe.
class ControlNets {
 public:
  /// files must outlive this object.
  ControlNets(const ModelFiles& files, device::ContextPtr context, DType precision, std::shared_ptr<exec::Arena> arena,
              bool keep_blocks)
      : files_(files),
        context_(std::move(context)),
        precision_(precision),
        arena_(std::move(arena)),
        keep_blocks_(keep_blocks) {}

  /// The use of a ControlNet that is opened where it is not yet, or where its file has changed. `where` begins
  /// messages; guess_mode: the factors of the residuals rise from 0.1 to 1, evenly by their logarithms (unless the
  /// network pools). Throws as read_control() and expect_fit() do, and invalid_argument for fields out of range.
  ControlUse use(const ControlNetInput& input, bool guess_mode, int steps, const std::string& where);
  /// What is not of `used` gives back its packed weights.
  void keep_only(const std::vector<ControlUse>& used);
  void set_observer(const exec::Session::Observer& observer);
  double compile_seconds() const;

 private:
  std::shared_ptr<ControlNet> open(const std::string& path, const std::string& where);

  const ModelFiles& files_;
  device::ContextPtr context_;
  DType precision_;
  std::shared_ptr<exec::Arena> arena_;
  bool keep_blocks_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ControlNet>> open_;  // by path, size and time of change
  exec::Session::Observer observer_;
};

/// What a network is given of its picture: the pixels, or of an adapter, all that it makes of them.
struct ControlPicture {
  Tensor pixels;
  std::vector<Tensor> features;
};

/// A control picture as its network takes it: of that size (Lanczos), or where the picture that is begun from is laid
/// out on a canvas, just so; RGB or its luma, 0 … 1: [1, channels, height, width] f32. (diffusers' VaeImageProcessor
/// with do_normalize=False.) Throws what reading throws, and io for a picture of another size than was said.
Tensor control_pixels(const PictureSource& source, const Canvas* canvas, int64_t width, int64_t height,
                      int64_t channels);

}  // namespace easel::pipelines
