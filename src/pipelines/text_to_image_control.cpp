// Control networks of a request: which they are, their pictures, what they take.
#include "base/fail.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

using pipelines::ControlUse;

namespace {

constexpr auto adapter_sizes = [](const auto& job, const pipelines::ControlNet& net) {
  const int64_t factor = net.adapter->downscale_factor;
  return Bindings{{"height", job.request.height / factor}, {"width", job.request.width / factor}};
};

}  // namespace

void TextToImagePipeline::Impl::resolve_controls(Job& job) const {
  const TextToImageRequest& r = job.request;
  for (const ControlNetInput& input : r.control_nets) {
    const std::string where = "--control-net " + printable(input.path, 400);
    job.controls.push_back(control_nets->use(input, r.control_guess_mode, r.steps, where));
    const ControlUse& use = job.controls.back();
    // diffusers: the first network decides for all.
    if (job.controls.size() == 1 && use.net->control_net)
      job.request.control_guess_mode |= use.net->control_net->global_pool_conditions;
    if (!use.adapts()) continue;
    const int64_t factor = use.net->adapter->downscale_factor;
    if (r.width % factor != 0 || r.height % factor != 0)
      fail(ErrorCode::invalid_argument,
           "--width, --height: expected multiples of {} for the T2I-Adapter {}, found {}x{}", factor,
           printable(input.path, 200), r.width, r.height);
  }
}

std::vector<pipelines::ControlPicture> TextToImagePipeline::Impl::control_pictures(const Job& job,
                                                                                   const pipelines::Canvas* canvas) {
  std::vector<pipelines::ControlPicture> out;
  for (const ControlUse& use : job.controls) {
    pipelines::ControlPicture picture;
    picture.pixels = pipelines::control_pixels(use.image, canvas, job.request.width, job.request.height,
                                               use.net->picture_channels());
    if (use.adapts()) {
      const auto session = use.net->component->session(adapter_sizes(job, *use.net));
      session->bind("picture", picture.pixels);
      session->run();
      for (const std::string& output : use.net->outputs) picture.features.push_back(session->tensor(output).clone());
    }
    out.push_back(std::move(picture));
  }
  return out;
}

TextToImagePipeline::Impl::ControlBytes TextToImagePipeline::Impl::control_bytes(const Job& job,
                                                                                 const pipelines::Residency& residency,
                                                                                 std::optional<DType> dtype) const {
  ControlBytes out;
  const Bindings sizes = unet_sizes(job, residency);
  const int64_t branches =
      residency.split_guidance ? job.beside().count() + static_cast<int64_t>(job.prompt.branches.size()) : 1;
  for (size_t i = 0; i < job.controls.size(); ++i) {
    const pipelines::ControlNet& net = *job.controls[i].net;
    const bool counted = std::any_of(job.controls.begin(), job.controls.begin() + static_cast<ptrdiff_t>(i),
                                     [&](const ControlUse& other) { return other.net.get() == &net; });
    const auto plan = net.component->plan(net.adapter ? adapter_sizes(job, net) : sizes, {}, dtype);
    const exec::ProgramSummary summary = plan->summary();
    if (!counted) out.weights += summary.weight_bytes;
    out.packing = std::max(out.packing, summary.pack_bytes);
    out.arena = std::max(out.arena, summary.arena_bytes);
    // The last network writes into the UNet's own memory, the others into theirs. An adapter runs once.
    int64_t slots = summary.slot_bytes;
    if (net.adapter) {
      out.slots += slots;
      continue;
    }
    if (i + 1 == job.controls.size())
      for (const exec::Slot& slot : plan->slots())
        if (slot.role == exec::Slot::Role::output) slots -= slot.shape.numel() * size_of(slot.dtype);
    out.slots += branches * slots;
  }
  return out;
}

}  // namespace easel
