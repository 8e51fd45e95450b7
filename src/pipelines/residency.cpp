#include "pipelines/residency.h"

#include <limits>
#include <optional>

#include "base/fail.h"
#include "device/memory.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

using pipelines::Component;
using pipelines::Residency;

namespace {

// Program, libraries, graphs, tokenizer and what the allocator keeps back, at full size.
constexpr int64_t kProcessBytes = int64_t{64} << 20;

int64_t running(const exec::ProgramSummary& plan) { return plan.arena_bytes + plan.slot_bytes; }

std::string gigabytes(int64_t bytes) { return fmt::format("{:.3g} GB", static_cast<double>(bytes) / 1e9); }

}  // namespace

void TextToImagePipeline::Impl::measure(const Job& job, Residency& residency, std::optional<DType> dtype) {
  // One text encoder after the other runs; unless they are to run one at a time, both stay packed meanwhile.
  int64_t text_weights = 0, text_packing = 0, text_largest = 0;
  for (size_t i = 0; i < text_encoder->count(); ++i) {
    const exec::ProgramSummary text = text_encoder->component(i).plan({{"batch", 2}}, {}, dtype)->summary();
    const int64_t run = std::max(text.pack_bytes, running(text));
    text_largest = std::max(text_largest, text.weight_bytes + run);
    text_packing = std::max(text_packing, run);
    text_weights += text.weight_bytes;
  }
  const std::string& variant = job.perturbed() ? job.perturbed_variant : job.variant;
  exec::ProgramSummary denoiser = unet->plan(unet_sizes(job, residency), {}, dtype, variant)->summary();
  const exec::ProgramSummary decoder = vae_decoder->plan(vae_sizes(job, residency), residency.bands, dtype)->summary();
  // Each branch has slots of its own.
  const int64_t branches =
      residency.split_guidance ? job.beside().count() + static_cast<int64_t>(job.prompt.branches.size()) : 1;
  int64_t sessions = branches * denoiser.slot_bytes;
  // Outside of guidance's interval the prompt runs alone, in sessions of its own.
  const GuidanceOptions& guidance = job.request.guidance;
  if (job.beside().count() > 0 && (guidance.start > 0 || guidance.end < 1)) {
    const exec::ProgramSummary alone =
        unet->plan(unet_sizes(job, residency, residency.batch_size, {}), {}, dtype, job.variant)->summary();
    sessions += alone.slot_bytes;
    denoiser.arena_bytes = std::max(denoiser.arena_bytes, alone.arena_bytes);
  }
  const ControlBytes control = control_bytes(job, residency, dtype);
  denoiser.weight_bytes += control.weights;
  denoiser.pack_bytes = std::max(denoiser.pack_bytes, control.packing);
  denoiser.arena_bytes = std::max(denoiser.arena_bytes, control.arena);
  sessions += control.slots;
  const int64_t denoiser_run = denoiser.arena_bytes + sessions;
  const auto alone = [](const exec::ProgramSummary& plan, int64_t run) {
    return kProcessBytes + plan.weight_bytes + std::max(plan.pack_bytes, run);
  };
  residency.encoding = kProcessBytes + (residency.one_at_a_time ? text_largest : text_weights + text_packing);
  residency.denoising = alone(denoiser, denoiser_run);
  if (previewer) residency.denoising += previewer->bytes(job.latent_height, job.latent_width, denoiser.arena_bytes);
  residency.decoding = alone(decoder, running(decoder));
  std::optional<exec::ProgramSummary> encoder;
  if (job.encodes_picture()) {
    encoder = vae_encoder().plan(encoder_sizes(job), residency.bands, dtype)->summary();
    residency.reading = alone(*encoder, running(*encoder));
  }
  // Pictures that prompt are encoded before anything else but the text.
  int64_t images_weights = 0, images_largest = 0, images_run = 0, images_arena = 0, images_stay = 0;
  for (const pipelines::ImagePrompts::Network& network : image_prompts->networks(job.image_prompts)) {
    const exec::ProgramSummary plan = network.component->plan({}, {}, dtype, network.variant)->summary();
    const int64_t run = std::max(plan.pack_bytes, running(plan));
    images_largest = std::max(images_largest, plan.weight_bytes + run);
    images_run = std::max(images_run, run);
    images_arena = std::max(images_arena, plan.arena_bytes);
    images_weights += plan.weight_bytes;
  }
  if (images_largest > 0) residency.prompting = kProcessBytes + images_largest;
  if (residency.one_at_a_time) return;
  // The arena stays as large as it ever was; weights stay packed once they are.
  const int64_t text_stays = options.keep_text_encoder ? text_weights : 0;
  const auto if_packed = [](const Component& component, const exec::ProgramSummary& plan) {
    return component.packed() ? plan.weight_bytes : 0;
  };
  int64_t arena_now = arena->size();
  residency.encoding += if_packed(*unet, denoiser) + if_packed(*vae_decoder, decoder) + arena_now;
  if (images_largest > 0) {
    // Networks of this stage that ran before stay packed while later ones run.
    residency.prompting = kProcessBytes + images_weights + images_run + text_stays + if_packed(*unet, denoiser) +
                          if_packed(*vae_decoder, decoder) + arena_now;
    if (image_prompts->keeps_weights()) images_stay = images_weights;
    arena_now = std::max(arena_now, images_arena);
  }
  int64_t encoder_stays = 0;
  if (encoder) {
    residency.reading += text_stays + images_stay + if_packed(*unet, denoiser) + if_packed(*vae_decoder, decoder) +
                         std::max<int64_t>(0, arena_now - encoder->arena_bytes);
    encoder_stays = encoder->weight_bytes + encoder->slot_bytes;
    if (vae_encoder().packed()) residency.encoding += encoder_stays;
    arena_now = std::max(arena_now, encoder->arena_bytes);
  }
  residency.denoising += text_stays + images_stay + encoder_stays + if_packed(*vae_decoder, decoder) +
                         std::max<int64_t>(0, arena_now - denoiser.arena_bytes);
  residency.decoding += text_stays + images_stay + encoder_stays + denoiser.weight_bytes +
                        (denoiser_run - denoiser.arena_bytes) +
                        std::max<int64_t>(0, std::max(arena_now, denoiser.arena_bytes) - decoder.arena_bytes);
}

exec::BandOptions TextToImagePipeline::Impl::least_bands(const Job& job) const {
  // The largest pictures inside the decoder: upsampled to full size, with the channels of the level below.
  const auto& widths = files.vae.block_out_channels;
  return {.band_bytes = pipelines::kBandBytes,
          .recompute_elements = job.request.width * job.request.height * widths[widths.size() > 1 ? 1 : 0]};
}

int64_t TextToImagePipeline::Impl::whole_decoder_bytes(const Job& job, const Residency& residency,
                                                       std::optional<DType> dtype) {
  return vae_decoder->plan(vae_sizes(job, residency), {}, dtype)->summary().arena_bytes;
}

Residency TextToImagePipeline::Impl::smallest(const Job& job, int64_t budget, VaeTiling tiling,
                                              std::optional<DType> dtype) {
  Residency residency;
  residency.batch_size = job.batch_size;
  residency.one_at_a_time = options.offload;
  const exec::BandOptions exact{.band_bytes = pipelines::kBandBytes}, least = least_bands(job);
  if (tiling == VaeTiling::on) residency.bands = least;
  if (tiling == VaeTiling::automatic && whole_decoder_bytes(job, residency, dtype) > pipelines::kWholeDecoderBytes)
    residency.bands = exact;
  const auto fits = [&] {
    measure(job, residency, dtype);
    return residency.peak() <= budget;
  };
  if (fits()) return residency;
  if (tiling == VaeTiling::automatic) {
    residency.bands = exact;
    if (fits()) return residency;
  }
  if (!residency.one_at_a_time) {
    residency.one_at_a_time = true;
    if (fits()) return residency;
  }
  while (residency.batch_size > 1) {
    residency.batch_size = (residency.batch_size + 1) / 2;
    if (fits()) return residency;
  }
  if (job.beside().count() > 0) {
    residency.split_guidance = true;
    if (fits()) return residency;
  }
  // Only for a given limit: what a machine has left must not reach the last bits of a picture.
  if (options.memory_limit > 0 && tiling == VaeTiling::automatic) {
    residency.bands = least;
    fits();
  }
  return residency;
}

Residency TextToImagePipeline::Impl::plan_residency(const Job& job, bool within_available) {
  const TextToImageRequest& r = job.request;
  const int64_t limit = options.memory_limit > 0 ? options.memory_limit : std::numeric_limits<int64_t>::max();
  int64_t budget = limit;
  if (within_available) {
    const int64_t available = device::available_memory(), resident = device::resident_memory();
    budget = std::min(limit, available > std::numeric_limits<int64_t>::max() - resident ? limit : available + resident);
  }
  const std::string size =
      fmt::format("--width {} --height {} with {} pictures at a time", r.width, r.height, job.batch_size);
  // The decoder's last level alone, before planning: sizes so large that the plan's own numbers would overflow end
  // here.
  const double pixels = static_cast<double>(r.width) * static_cast<double>(r.height);
  const double least = pixels * static_cast<double>(files.vae.block_out_channels.front()) * 2;
  if (least > static_cast<double>(budget))
    fail(ErrorCode::out_of_memory, "{}: needs more than {:.3g} GB of memory, {} are {}", size, least / 1e9,
         gigabytes(budget), budget < limit ? "available" : "allowed by --memory-limit");
  const Residency residency = smallest(job, budget, options.vae_tiling, {});
  if (residency.peak() <= budget) return residency;
  fail(ErrorCode::out_of_memory, "{}: needs {} of memory at least, {} are {}{}", size, gigabytes(residency.peak()),
       gigabytes(budget), budget < limit ? "available" : "allowed by --memory-limit", what_fits(job, budget));
}

std::string TextToImagePipeline::Impl::what_fits(const Job& job, int64_t budget) {
  std::string out;
  const auto offer = [&](const std::string& change, int64_t bytes) {
    if (bytes <= budget)
      out += fmt::format("{}{} ({})", out.empty() ? "; would fit: " : ", or ", change, gigabytes(bytes));
  };
  if (options.vae_tiling == VaeTiling::off)
    offer("--vae-tiling auto", smallest(job, budget, VaeTiling::automatic, {}).peak());
  if (unet->precision() == DType::f32)
    offer("--dtype bf16", smallest(job, budget, options.vae_tiling, DType::bf16).peak());
  const int64_t unit = std::max<int64_t>(8, files.vae.downscale()) * 8;
  for (int eighths = 7; eighths > 0; --eighths) {
    Job smaller = job;
    TextToImageRequest& r = smaller.request;
    r.width = r.width * eighths / 8 / unit * unit;
    r.height = r.height * eighths / 8 / unit * unit;
    if (r.width == 0 || r.height == 0) break;
    smaller.latent_width = r.width / files.vae.downscale();
    smaller.latent_height = r.height / files.vae.downscale();
    const int64_t bytes = smallest(smaller, budget, options.vae_tiling, {}).peak();
    if (bytes > budget) continue;
    offer(fmt::format("--width {} --height {}", r.width, r.height), bytes);
    break;
  }
  if (out.empty())
    out = fmt::format("; no size would fit: the UNet's weights take {}",
                      gigabytes(unet->plan(unet_sizes(job, Residency{}), {}, {})->summary().weight_bytes));
  const auto in_blocks = [](const pipelines::FileWeights& weights) {
    return std::ranges::any_of(weights.files().files(), [](const io::TensorFile& file) {
      return std::ranges::any_of(file.tensors(), [](const io::TensorInfo& info) {
        return info.packed() || element_format(info.dtype) != BlockFormat::none;
      });
    });
  };
  if (options.expand_weights && in_blocks(*files.unet_weights))
    out += "; without --expand-weights the file's packed weights take less";
  return out;
}

void TextToImagePipeline::Impl::enter(Component& next) {
  if (!residency.one_at_a_time) return;
  std::vector<Component*> all = {unet.get(), vae_decoder.get(), vae_encoder_.get()};
  for (size_t i = 0; i < text_encoder->count(); ++i) all.push_back(&text_encoder->component(i));
  for (Component* component : image_prompts->components()) all.push_back(component);
  for (Component* other : all)
    if (other && other != &next && other->packed()) {
      other->drop();
      arena->release();
    }
  if (&next != unet.get()) control_nets->keep_only({});
}

}  // namespace easel
