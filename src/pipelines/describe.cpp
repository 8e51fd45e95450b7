// What `easel inspect` says about a model.
#include <map>

#include "base/fail.h"
#include "exec/call.h"
#include "exec/profile.h"
#include "pipelines/text_to_image_impl.h"
#include "sampling/schedule_plot.h"

namespace easel {

namespace {

struct Part {
  const char* name;
  const char* network;
  exec::ProgramPtr plan;
  DType precision;
  const pipelines::FileWeights* weights;
};

std::string megabytes(int64_t bytes) { return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6); }

// "f16 ×686" – how the component's tensors are stored.
std::map<std::string, int> stored_dtypes(const Part& part) {
  std::map<std::string, int> counts;
  if (!part.weights) return counts;
  for (const std::string& name : part.weights->files().names())
    ++counts[std::string(part.weights->files().find(name)->encoding())];
  return counts;
}

// One line per distinct choice: operator, kernel, how often, why not the ones before it.
void list_kernels(const Part& part, device::Isa isa, std::string& out) {
  std::map<std::string, int> lines;
  for (const exec::EntryProgram& entry : part.plan->entries())
    for (const exec::Command& command : entry.commands) {
      std::string reasons;
      for (const ops::Kernel* kernel : ops::kernels_of(command.call.attrs)) {
        if (kernel == command.kernel) break;
        reasons += fmt::format("{}{}: {}", reasons.empty() ? "  (not " : "; ", kernel->name,
                               ops::rejection(*kernel, command.call, isa));
      }
      ++lines[fmt::format("{} {}{}", ops::op_name(command.call.attrs), command.kernel->name,
                          reasons.empty() ? "" : reasons + ")")];
    }
  for (const auto& [line, count] : lines) out += fmt::format("    {:4} × {}\n", count, line);
}

// Every distinct call with the number of launches on each kernel row; the rows of its operator, best first, to `lists`.
nlohmann::json calls_of(const Part& part, nlohmann::json& lists) {
  std::map<std::pair<std::string, std::string>, std::map<std::string, int>> calls;
  for (const exec::EntryProgram& entry : part.plan->entries())
    for (const exec::Command& command : entry.commands) {
      const Launch launch = exec::describe_launch(entry, command);
      ++calls[{launch.op, launch.shapes}][launch.kernel];
      nlohmann::json& list = lists[std::string(ops::op_name(command.call.attrs))];
      if (!list.is_null()) continue;
      for (const ops::Kernel* kernel : ops::kernels_of(command.call.attrs)) list.push_back(kernel->name);
    }
  nlohmann::json out = nlohmann::json::array();
  for (const auto& [call, launches] : calls)
    out.push_back({{"operator", call.first}, {"shapes", call.second}, {"launches", launches}});
  return out;
}

}  // namespace

// A template because only the pipeline's own members may name its inside.
template <typename Pipeline, typename Job>
static std::vector<Part> parts_of(Pipeline& p, const Job& job, const pipelines::Residency& plan) {
  std::vector<Part> parts;
  for (size_t i = 0; i < p.text_encoder->count(); ++i) {
    const pipelines::TextEncoderFiles& encoder = p.files.text_encoders[i];
    parts.push_back(
        {encoder.name.c_str(), encoder.config.projection_dim > 0 ? "CLIPTextModelWithProjection" : "CLIPTextModel",
         p.text_encoder->component(i).plan({{"batch", 2}}), p.text_encoder->precision(), encoder.weights.get()});
  }
  for (const pipelines::ImagePrompts::Network& network : p.image_prompts->networks(job.image_prompts)) {
    const bool encoder = network.name == std::string_view("image_encoder");
    parts.push_back({network.name, encoder ? "CLIPVisionModelWithProjection" : "IP-Adapter",
                     network.component->plan({}, {}, {}, network.variant), network.component->precision(),
                     network.weights});
  }
  parts.push_back({"unet", "UNet2DConditionModel",
                   p.unet->plan(p.unet_sizes(job, plan), {}, {}, job.perturbed() ? job.perturbed_variant : job.variant),
                   p.unet->precision(), p.files.unet_weights.get()});
  parts.push_back({"vae (decoder)", p.files.tiny_vae ? "AutoencoderTiny" : "AutoencoderKL",
                   p.vae_decoder->plan(p.vae_sizes(job, plan), plan.bands), p.vae_decoder->precision(),
                   p.files.vae_weights.get()});
  return parts;
}

// "VAE in bands, one component at a time" – what is done to need less memory; empty where nothing is.
static std::string savings(const pipelines::Residency& plan, const std::string& separator) {
  std::vector<std::string> means;
  if (plan.bands.band_bytes > 0)
    means.push_back(plan.bands.recompute_elements > 0 ? "VAE in bands, partly recomputed" : "VAE in bands");
  if (plan.one_at_a_time) means.push_back("one component at a time");
  if (plan.split_guidance) means.push_back("guidance branches one after the other");
  return fmt::format("{}", fmt::join(means, separator));
}

// "two branches"
static std::string branches_of(size_t count) {
  static constexpr const char* kNames[] = {"no branches", "one branch", "two branches", "three branches",
                                           "four branches"};
  return count < std::size(kNames) ? kNames[count] : fmt::format("{} branches", count);
}

static const char* to_string(VaeTiling tiling) {
  return tiling == VaeTiling::on ? "on" : tiling == VaeTiling::off ? "off" : "auto";
}

std::string TextToImagePipeline::describe(const TextToImageRequest& request, bool kernels) const {
  Impl& p = *impl_;
  const std::lock_guard lock(p.mutex);  // plans are kept
  const Impl::Job job = p.resolve(request, false);
  p.use_unet_adapters(job);
  const pipelines::Residency plan = p.plan_residency(job, false);
  const std::vector<Part> parts = parts_of(p, job, plan);
  std::string out = fmt::format(
      "{}\n  family     {} ({})\n  because    {}\n  scheduler  {}, predicts {} ({})\n  device     {}, {} threads\n"
      "  size       {}×{}, {} at a time{}\n",
      p.info.path, p.info.family, p.files.layout, p.files.family_reason, p.info.scheduler_class, p.info.prediction_type,
      p.files.prediction_reason, p.info.device, p.info.threads, job.request.width, job.request.height, plan.batch_size,
      !job.guided ? ""
                  : fmt::format(", guided ({} {})",
                                branches_of(job.prompt.branches.size() + static_cast<size_t>(job.beside().count())),
                                plan.split_guidance ? "one after the other" : "in one batch"));
  for (const Part& part : parts) {
    const exec::ProgramSummary& s = part.plan->summary();
    std::string stored;
    for (const auto& [dtype, count] : stored_dtypes(part))
      stored += fmt::format("{}{} ×{}", stored.empty() ? "stored as " : ", ", dtype, count);
    if (!part.weights) stored = "no weights here";
    const std::string blocks =
        s.block_bytes > 0 ? fmt::format(" ({} of it packed as stored)", megabytes(s.block_bytes)) : "";
    out += fmt::format(
        "  {} – {}\n    {:.2f} M parameters, {}, runs in {}\n    {} commands; weights {}{}, activations {}, "
        "inputs and outputs {}\n",
        part.name, part.network, static_cast<double>(s.parameters) / 1e6, stored, to_string(part.precision), s.commands,
        megabytes(s.weight_bytes), blocks, megabytes(s.arena_bytes), megabytes(s.slot_bytes));
    std::string passes;
    for (const graph::PassReport& report : part.plan->pass_reports())
      passes += fmt::format("{}{} {}", passes.empty() ? "" : ", ", report.name, report.matches);
    out += fmt::format("    passes: {}\n", passes);
    for (const exec::EntryProgram& entry : part.plan->entries())
      out += fmt::format("    entry {}: {} commands, activations {}\n", graph::to_string(entry.rate),
                         entry.commands.size(), megabytes(entry.arena_bytes));
    if (kernels) list_kernels(part, p.context->isa, out);
  }
  const std::string means = savings(plan, ", ");
  out += fmt::format("  VAE tiling   {}: {}\n", to_string(p.options.vae_tiling),
                     plan.bands.band_bytes > 0 ? "in bands of rows" : "whole pictures");
  const std::string prompting = plan.prompting > 0 ? ", encoding pictures " + megabytes(plan.prompting) : "";
  return out + fmt::format("  peak memory  {} planned: encoding {}{}, denoising {}, decoding {}{}{}\n",
                           megabytes(plan.peak()), megabytes(plan.encoding), prompting, megabytes(plan.denoising),
                           megabytes(plan.decoding), means.empty() ? "" : "; ", means);
}

std::string TextToImagePipeline::describe_json(const TextToImageRequest& request, bool kernels) const {
  Impl& p = *impl_;
  const std::lock_guard lock(p.mutex);  // plans are kept
  const Impl::Job job = p.resolve(request, false);
  p.use_unet_adapters(job);
  const pipelines::Residency plan = p.plan_residency(job, false);
  const std::vector<Part> parts = parts_of(p, job, plan);
  nlohmann::json out = {{"path", p.info.path},
                        {"family", p.info.family},
                        {"family_reason", p.files.family_reason},
                        {"prediction_type", p.info.prediction_type},
                        {"prediction_reason", p.files.prediction_reason},
                        {"layout", p.files.layout},
                        {"scheduler", p.files.scheduler},
                        {"device", p.info.device},
                        {"threads", p.info.threads},
                        {"width", job.request.width},
                        {"height", job.request.height},
                        {"batch_size", plan.batch_size}};
  for (const Part& part : parts) {
    const exec::ProgramSummary& s = part.plan->summary();
    nlohmann::json rows = nlohmann::json::object(), passes = nlohmann::json::object();
    for (const exec::EntryProgram& entry : part.plan->entries())
      for (const exec::Command& command : entry.commands) {
        const std::string name = fmt::format("{} {}", ops::op_name(command.call.attrs), command.kernel->name);
        rows[name] = rows.value(name, 0) + 1;
      }
    for (const graph::PassReport& report : part.plan->pass_reports()) passes[report.name] = report.matches;
    out["components"].push_back({{"name", part.name},
                                 {"network", part.network},
                                 {"parameters", s.parameters},
                                 {"stored_dtypes", stored_dtypes(part)},
                                 {"dtype", to_string(part.precision)},
                                 {"weight_bytes", s.weight_bytes},
                                 {"block_bytes", s.block_bytes},
                                 {"arena_bytes", s.arena_bytes},
                                 {"slot_bytes", s.slot_bytes},
                                 {"nodes", part.plan->pass_reports().back().nodes_after},
                                 {"commands", s.commands},
                                 {"kernels", rows},
                                 {"passes", passes}});
    if (kernels) out["components"].back()["calls"] = calls_of(part, out["kernel_rows"]);
  }
  out["peak_memory_bytes"] = plan.peak();
  out["memory"] = {{"encoding", plan.encoding},
                   {"encoding_pictures", plan.prompting},
                   {"denoising", plan.denoising},
                   {"decoding", plan.decoding},
                   {"vae_tiling", plan.bands.band_bytes > 0},
                   {"vae_tiling_option", to_string(p.options.vae_tiling)},
                   {"vae_recompute", plan.bands.recompute_elements > 0},
                   {"one_component_at_a_time", plan.one_at_a_time},
                   {"split_guidance", plan.split_guidance}};
  return out.dump();
}

std::string TextToImagePipeline::describe_schedule(const TextToImageRequest& request, ScheduleFormat format) const {
  const std::vector<sampling::NoiseLevel> levels = impl_->sampler_for(request)->levels();
  if (format == ScheduleFormat::json) return sampling::schedule_json(levels);
  if (format == ScheduleFormat::text) return sampling::schedule_table(levels);
  const std::string sampler = request.sampler.empty() ? impl_->info.scheduler_class : request.sampler;
  const std::string scheduler = request.scheduler.empty() ? "" : ", " + request.scheduler;
  return sampling::schedule_svg(levels, fmt::format("{}{}: {} steps", sampler, scheduler, levels.size() - 1));
}

}  // namespace easel
