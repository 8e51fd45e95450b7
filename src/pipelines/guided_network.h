// The network as samplers see it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "pipelines/text_to_image_impl.h"
#include "sampling/guidance.h"
#include "sampling/sampler.h"

namespace easel {

/// All pictures of a prompt, batch by batch, each with the branches that the guidance reads.
class TextToImagePipeline::Impl::GuidedNetwork final : public sampling::Model {
 public:
  using AfterBatch = std::function<void(int batch, double seconds)>;

  /// pipeline, job, extra and control_pictures must outlive it. extra: the UNet's further input channels, [1, C', h, w]
  /// or empty; control_pictures: the pictures of the job's controls; calls: how often predict() will be called, 0 where
  /// only the run can tell.
  GuidedNetwork(Impl& pipeline, const Job& job, const Tensor& extra,
                const std::vector<pipelines::ControlPicture>& control_pictures, int calls, AfterBatch after);
  ~GuidedNetwork() override;

  /// call.input and call.output: [N, C, h, w], all pictures of the job.
  void predict(const sampling::ModelCall& call) override;

  /// Lets go of the sessions: they hold what the UNet may have to give back.
  void release();

 private:
  Denoiser& denoiser(int pictures, const Branches& beside);

  Impl& pipeline_;
  const Job& job_;
  const Tensor& extra_;
  const std::vector<pipelines::ControlPicture>& control_pictures_;
  int call_ = 0, calls_;
  sampling::GuidancePtr guidance_;
  AfterBatch after_;
  double last_timestep_;
  std::map<std::pair<int, Branches>, std::unique_ptr<Denoiser>> denoisers_;
};

}  // namespace easel
