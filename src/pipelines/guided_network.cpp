#include "pipelines/guided_network.h"

#include <algorithm>
#include <array>
#include <chrono>

#include <fmt/format.h>

#include "pipelines/control_run.h"

namespace easel {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

// One batch of pictures through the UNet.
struct TextToImagePipeline::Impl::Denoiser {
  /// Which of the denoiser's runs it is; no number of them (0) where only the run can tell.
  struct Position {
    int call = 0, calls = 0;
  };

  /// more: the network's further input channels, [1, C', h, w] or empty.
  Denoiser(Impl& pipeline, const Job& job, int count, const Branches& run_beside, const Tensor& more,
           const std::vector<pipelines::ControlPicture>& pictures_of_controls)
      : beside(run_beside),
        conditioning(*pipeline.text_encoder, job.prompt, beside.negative ? &job.negative : nullptr,
                     prompts_beside(job, beside), pipelines::added_inputs(job.request, pipeline.files.unet)),
        extra(more),
        images(job.image_prompts),
        instructed(job.instructed && beside.middle),
        split(beside.count() > 0 && pipeline.residency.split_guidance),
        pictures(count) {
    const Bindings sizes = pipeline.unet_sizes(job, pipeline.residency, pictures, beside);
    // Where guidance pauses or is another, sessions are others too: those of the same sizes hold other texts.
    const int kind = (beside.negative ? 1 : 0) + (beside.middle ? 2 : 0) + (beside.perturbed ? 4 : 0);
    const int first = beside == job.beside() ? 0 : (kind + 1) * static_cast<int>(job.prompt.branches.size() + 3);
    const std::string& variant = beside.perturbed ? job.perturbed_variant : job.variant;
    for (int branch = 0; branch < (split ? conditioning.branches() : 1); ++branch)
      sessions.push_back(pipeline.unet->session(sizes, {}, first + branch, variant));
    if (beside.perturbed)
      for (int branch = 0; branch < conditioning.branches(); ++branch)
        fill("perturbation", branch, branch + 1 == conditioning.branches() ? 1.0f : 0.0f);
    for (size_t i = 0; i < images.size(); ++i)
      for (int branch = 0; branch < conditioning.branches(); ++branch) {
        const Tensor& states = without_images(branch) ? images[i].negative_states : images[i].states;
        const Tensor to = rows(fmt::format("ip_hidden_states.{}", i).c_str(), branch);
        for (int64_t row = 0; row < to.dim(0); ++row)
          std::ranges::copy(states.span<float>(), to.rows(row, row + 1).data<float>());
      }
    if (job.request.freeu) {
      const FreeU& f = *job.request.freeu;
      const std::array<double, 4> factors = {f.b1, f.b2, f.s1, f.s2};
      for (const auto& session : sessions)
        std::copy(factors.begin(), factors.end(), session->tensor("freeu").span<float>().begin());
    }
    if (!job.controls.empty()) add_control(job, sizes, first, pictures_of_controls);
  }

  // Beside every session, the control networks of its rows. In guess mode those of the branches without a prompt of
  // their own see nothing.
  void add_control(const Job& job, const Bindings& sizes, int instance,
                   const std::vector<pipelines::ControlPicture>& pictures_of_controls) {
    const auto sees = [&](int branch) {
      const bool blind = (beside.negative && branch == 0) || (beside.middle && branch == conditioning.first_beside());
      return !blind || !job.request.control_guess_mode;
    };
    std::vector<pipelines::ControlRun::Place> places;
    for (size_t s = 0; s < sessions.size(); ++s) {
      std::vector<bool> rows;
      for (int branch = 0; branch < conditioning.branches(); ++branch)
        if (!split || branch == static_cast<int>(s))
          rows.insert(rows.end(), static_cast<size_t>(pictures), sees(branch));
      const auto seen = std::find(rows.begin(), rows.end(), true);
      const auto first = seen - rows.begin();
      rows.erase(rows.begin(), seen);
      while (!rows.empty() && !rows.back()) rows.pop_back();
      places.push_back({sessions[s], first, std::move(rows), instance + static_cast<int>(s)});
    }
    control.emplace(job.controls, pictures_of_controls, std::move(places), sizes);
  }

  static std::vector<const pipelines::PromptPlan*> prompts_beside(const Job& job, const Branches& beside) {
    std::vector<const pipelines::PromptPlan*> plans;
    if (beside.middle) plans.push_back(&*job.middle);
    if (beside.perturbed) plans.push_back(&job.prompt);
    return plans;
  }

  /// Before the predictions of a step from 0: what the prompts say there.
  void at_step(int step) {
    const std::vector<int> changed =
        conditioning.fill(step, [this](const char* name, int branch) { return rows(name, branch); });
    if (changed.empty()) return;
    if (control) {
      for (const int branch : changed) control->texts_changed(split ? static_cast<size_t>(branch) : 0);
    }
    if (!split) return sessions[0]->run(graph::Rate::request);
    for (const int branch : changed) sessions[static_cast<size_t>(branch)]->run(graph::Rate::request);
  }

  // Whether a branch is of the negative prompt, or of none while the picture guides.
  bool without_images(int branch) const {
    return (beside.negative && branch == 0) || (instructed && branch == conditioning.first_beside());
  }

  // How strongly image prompts act at this part of the trained timesteps.
  void fill_scales(exec::Session& session, double progress) const {
    for (size_t i = 0; i < images.size(); ++i) {
      const auto to = session.tensor(fmt::format("ip_scale.{}", i)).span<float>();
      if (images[i].acts_at(progress))
        std::ranges::copy(images[i].scales, to.begin());
      else
        std::ranges::fill(to, 0.0f);
    }
  }

  // sample: [n, C, h, w], already scaled; the predictions stay in the sessions until the next call.
  sampling::Branches predict(std::span<const float> sample, double timestep, const Shape& shape, double progress,
                             const Position& position) {
    for (size_t s = 0; s < sessions.size(); ++s) {
      const auto& session = sessions[s];
      const Tensor t = session->tensor("timestep");
      fill_sample(*session, sample);
      std::fill_n(t.data<float>(), t.numel(), static_cast<float>(timestep));
      fill_scales(*session, progress);
      if (control) control->run(s, position.call, position.calls, progress, sample, pictures);
      session->run(graph::Rate::schedule);
      session->run(graph::Rate::step);
    }
    conditioning.mix([this](const char* name, int branch) { return rows(name, branch); });
    const auto of = [this](int branch) { return std::span<const float>(rows("noise_pred", branch).span<float>()); };
    int next = conditioning.first_beside();
    sampling::Branches out{of(beside.negative ? 1 : 0), {}, {}, shape, progress, timestep};
    if (beside.negative) out.unconditional = of(0);
    if (beside.middle) out.middle = of(next++);
    if (beside.perturbed) out.perturbed = of(next++);
    return out;
  }

  // Every branch of every picture sees the sample, and beside it the further channels; where the picture guides, the
  // negative branch does not see it.
  void fill_sample(exec::Session& session, std::span<const float> sample) const {
    const auto values = session.tensor("sample").span<float>();
    const std::span<const float> more = extra.defined() ? extra.span<float>() : std::span<float>();
    const size_t item = sample.size() / static_cast<size_t>(pictures), row = item + more.size();
    const bool blind = instructed && (!split || &session == sessions.front().get());
    for (size_t r = 0; r * row < values.size(); ++r) {
      const size_t picture = r % static_cast<size_t>(pictures);
      auto to = values.begin() + static_cast<ptrdiff_t>(r * row);
      to = std::copy_n(sample.begin() + static_cast<ptrdiff_t>(picture * item), item, to);
      if (blind && r < static_cast<size_t>(pictures))
        std::fill_n(to, more.size(), 0.0f);
      else
        std::copy(more.begin(), more.end(), to);
    }
  }

  void fill(const char* name, int branch, float value) const {
    const Tensor part = rows(name, branch);
    std::fill_n(part.data<float>(), part.numel(), value);
  }

  // The part of an input or output that belongs to a branch.
  Tensor rows(const char* name, int branch) const {
    if (split) return sessions[static_cast<size_t>(branch)]->tensor(name);
    return sessions[0]->tensor(name).rows(branch * pictures, (branch + 1) * pictures);
  }

  Branches beside;
  pipelines::Conditioning conditioning;
  std::vector<std::shared_ptr<exec::Session>> sessions;  // one, or one per branch
  const Tensor& extra;
  const std::vector<pipelines::ImagePrompt>& images;
  bool instructed, split;
  int pictures;
  std::optional<pipelines::ControlRun> control;
};

TextToImagePipeline::Impl::GuidedNetwork::GuidedNetwork(Impl& pipeline, const Job& job, const Tensor& extra,
                                                        const std::vector<pipelines::ControlPicture>& control_pictures,
                                                        int calls, AfterBatch after)
    : pipeline_(pipeline),
      job_(job),
      extra_(extra),
      control_pictures_(control_pictures),
      calls_(calls),
      guidance_(pipeline.guidance_for(job)),
      after_(std::move(after)) {
  last_timestep_ = static_cast<double>(pipeline.files.scheduler.value("num_train_timesteps", 1000) - 1);
  const int pictures = job.request.num_images_per_prompt;
  // No part of the first step's time.
  for (int begin = 0; begin < pictures; begin += job.batch_size) {
    Denoiser& network = denoiser(std::min(job.batch_size, pictures - begin), job.beside());
    network.at_step(0);
    if (network.control) network.control->prepare(calls);
  }
}

TextToImagePipeline::Impl::GuidedNetwork::~GuidedNetwork() = default;

void TextToImagePipeline::Impl::GuidedNetwork::predict(const sampling::ModelCall& call) {
  const int pictures = job_.request.num_images_per_prompt;
  const size_t item = call.input.size() / static_cast<size_t>(pictures);
  const double progress = 1 - call.timestep / last_timestep_;
  const Branches beside = {
      guidance_->wants_unconditional(progress) || !call.unconditional.empty() || job_.prompt.mixed(),
      guidance_->wants_middle(progress), guidance_->wants_perturbed(progress)};
  for (int begin = 0, batch = 0; begin < pictures; begin += job_.batch_size, ++batch) {
    const Clock::time_point start = Clock::now();
    const int count = std::min(job_.batch_size, pictures - begin);
    const size_t offset = static_cast<size_t>(begin) * item, size = static_cast<size_t>(count) * item;
    const Shape shape = {count, pipeline_.files.vae.latent_channels, job_.latent_height, job_.latent_width};
    Denoiser& network = denoiser(count, beside);
    network.at_step(call.step);
    const sampling::Branches branches =
        network.predict(call.input.subspan(offset, size), call.timestep, shape, progress, {call_, calls_});
    guidance_->combine(branches, call.output.subspan(offset, size));
    if (!call.unconditional.empty())
      std::copy(branches.unconditional.begin(), branches.unconditional.end(),
                call.unconditional.begin() + static_cast<ptrdiff_t>(offset));
    after_(batch, std::chrono::duration<double>(Clock::now() - start).count());
  }
  ++call_;
  if (pipeline_.previewer) pipeline_.previewer->saw(call);
}

void TextToImagePipeline::Impl::GuidedNetwork::release() { denoisers_.clear(); }

TextToImagePipeline::Impl::Denoiser& TextToImagePipeline::Impl::GuidedNetwork::denoiser(int pictures,
                                                                                        const Branches& beside) {
  auto& found = denoisers_[{pictures, beside}];  // the last batch may be smaller
  if (!found) found = std::make_unique<Denoiser>(pipeline_, job_, pictures, beside, extra_, control_pictures_);
  return *found;
}

}  // namespace easel
