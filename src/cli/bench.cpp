// easel bench: what the phases of a picture take, and where the time goes.
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/fail.h"
#include "cli/commands.h"
#include "cli/interrupts.h"
#include "cli/model_lookup.h"
#include "cli/options.h"
#include "cli/output_files.h"
#include "cli/profile_report.h"
#include "cli/progress_bar.h"
#include "cli/statistics.h"
#include "device/memory.h"
#include "io/atomic_file.h"

namespace easel::cli {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHelp =
    R"(Usage: easel bench [MODEL] [options]
Makes pictures as generate does, throws them away and tells what each phase took: the best and
the median of all rounds. Loading and compiling happen once.

  --model DIR|FILE|NAME         diffusers folder, file (.safetensors, .ckpt, .gguf) or name;
                                default: the demo model
  --model-dir DIR               where names are looked up first
  --unet, --vae, --text-encoder FILE    replaces that part of the model
  --tokenizer DIR               for single files that hold none
  --width N, --height N         pixels, multiples of 8; default: the model's size
  --batch-size N                pictures computed together (1)
  --guidance-scale X            1 or less: no negative branch (7.5)
  --steps N                     denoiser steps of a round (2)
  --rounds N                    (3)
  --lora FILE[:WEIGHT]          with adapters, and what changing them takes; --lora-dir DIR,
                                --lora-mode merge|runtime
  --dtype TYPE                  fp32, bf16 or fp16; default: bf16 where the processor has it
  --unet-dtype, --vae-dtype, --text-encoder-dtype TYPE    for one part
  --device cpu  --threads N     default: one thread per physical core
  --profile [FILE]              one round more, launch by launch: a table of layers and time by
                                class; into FILE a trace for chrome://tracing or ui.perfetto.dev
  --json                        one JSON object with everything measured on standard output
  --quiet                       no progress
)";

struct BenchOptions {
  ModelOptions model;
  std::optional<std::string> target;
  std::optional<int64_t> width, height, batch_size, steps, rounds;
  std::optional<double> guidance_scale;
  std::optional<std::string> profile;  ///< "": no file
  bool json = false, quiet = false;

  bool parse(std::span<const std::string> args) {
    Arguments arguments("bench", kHelp);
    arguments.positional("MODEL", target);
    model.add_to(arguments);
    arguments.whole("--width", width, 1, INT32_MAX);
    arguments.whole("--height", height, 1, INT32_MAX);
    arguments.whole("--batch-size", batch_size, 1, 10000);
    arguments.number("--guidance-scale", guidance_scale, -HUGE_VAL);
    arguments.whole("--steps", steps, 1, 1000);
    arguments.whole("--rounds", rounds, 1, 100000);
    arguments.optional_text("--profile", profile);
    arguments.flag("--json", json);
    arguments.flag("--quiet", quiet);
    if (!arguments.parse(args)) return false;
    if (target && model.model)
      fail(ErrorCode::invalid_argument, "--model: expected one model, found \"{}\" too", printable(*target, 200));
    if (target) model.model = target;
    return true;
  }
};

// Loading of the program and its libraries counts too, so the kernel is asked when the process began (to 10 ms).
double seconds_since_process_start() {
  std::ifstream stat("/proc/self/stat");
  const std::string text((std::istreambuf_iterator<char>(stat)), {});
  const size_t name_end = text.rfind(')');  // the name in front may hold anything
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 3; i < 22; ++i) fields >> field;
  double ticks = 0;
  fields >> ticks;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) -
         ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class Benchmark {
 public:
  Benchmark(const BenchOptions& options, const CancelToken& cancel)
      : options_(options), bar_(!options.quiet), rounds_(options.rounds.value_or(3)) {
    if (options.profile && !options.profile->empty()) check_writable("--profile", *options.profile);
    LoadOptions load = options.model.load_options();
    load.cancel = cancel;
    load.warn = print_warning;
    load.keep_text_encoder = false;  // as generate does, so that the peak of memory is that of generate
    model_ = find_model(options.model.model, options.model.model_dir);
    bar_.phase("loading the model");
    pipeline_.emplace(TextToImagePipeline::load(model_.path, load));
    TextToImageRequest& r = request_;
    r.width = options.width.value_or(pipeline_->info().default_width);
    r.height = options.height.value_or(pipeline_->info().default_height);
    r.num_images_per_prompt = static_cast<int>(options.batch_size.value_or(1));
    r.guidance_scale = options.guidance_scale.value_or(r.guidance_scale);
    r.steps = static_cast<int>(options.steps.value_or(2));
    r.sampler = "ddim";  // one run of the denoiser per step, whatever the model's own scheduler
    r.loras = options.model.adapters();
    r.lora_mode = options.model.adapter_mode();
    pipeline_->validate(r);
  }

  void run() {
    seconds_.load = pipeline_->info().load_seconds;
    // All texts first: the encoder's memory goes before the denoiser's comes.
    for (int64_t i = 0; i < rounds_; ++i) encode(i);
    for (int64_t i = 0; i < rounds_; ++i) round(i);
    peak_memory_ = device::peak_resident_memory();
    if (!request_.loras.empty())
      for (int64_t i = 0; i < rounds_; ++i) change_adapters();
    if (options_.profile) profile();
    bar_.clear();
    if (options_.json)
      std::puts(json().dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    else
      print();
  }

 private:
  // A prompt that was seen before would not be encoded again.
  TextToImageRequest request(int64_t number) const {
    TextToImageRequest out = request_;
    out.prompt = fmt::format("picture number {}", number);
    out.negative_prompt = fmt::format("not number {}", number);
    return out;
  }

  std::string label(int64_t number) const { return fmt::format("round {}/{}", number + 1, rounds_); }

  void encode(int64_t number) {
    bar_.phase("encoding the prompts, " + label(number));
    const Timings part = pipeline_->encode_prompts({request(number)});
    text_encode_.push_back(part.text_encode);
    if (number == 0) seconds_.compile += part.compile;  // the encoder's memory was given back, so each round compiles
  }

  void round(int64_t number) {
    const TextToImageResult result = pipeline_->generate(request(number), [&](const StepProgress& progress) {
      if (number == 0 && progress.done == 1) first_step_ = seconds_since_process_start() - progress.seconds;
      bar_.steps(label(number), progress);
    });
    seconds_.compile += result.seconds.compile;
    seconds_.steps.insert(seconds_.steps.end(), result.seconds.steps.begin(), result.seconds.steps.end());
    seconds_.decode.insert(seconds_.decode.end(), result.seconds.decode.begin(), result.seconds.decode.end());
  }

  // Away and back again.
  void change_adapters() {
    bar_.phase("changing adapters");
    TextToImageRequest without = request(0);
    without.loras.clear();
    lora_changes_.push_back(pipeline_->use_adapters(without));
    lora_changes_.push_back(pipeline_->use_adapters(request(0)));
  }

  void profile() {
    bar_.phase("profiling");
    pipeline_->set_launch_sink([this](const Launch& launch) { report_.add(launch); });
    pipeline_->generate(request(rounds_));
    pipeline_->set_launch_sink({});
    if (options_.profile->empty()) return;
    io::AtomicFile file(*options_.profile);
    file.write(report_.chrome_trace().dump(-1, ' ', false, Json::error_handler_t::replace));
    file.write("\n");
    file.commit();
  }

  // Text, 20 steps and the decoder, from the best of each.
  double twenty_steps() const { return best(text_encode_) + 20 * best(seconds_.steps) + best(seconds_.decode); }

  void print() const {
    const TextToImagePipeline::Info& info = pipeline_->info();
    const bool guided = request_.guidance_scale > 1;
    std::string out = fmt::format(
        "{}, {}x{}, {} at a time{}; text encoder {}, unet {}, vae {}; {}, {} threads\n", printable(model_.name, 200),
        request_.width, request_.height, request_.num_images_per_prompt, guided ? ", guided" : "",
        to_string(info.text_encoder), to_string(info.unet), to_string(info.vae), info.device, info.threads);
    const auto once = [&](const char* name, double seconds, const char* what) {
      out += fmt::format("  {:<12} {:>9.3f} s{}{}\n", name, seconds, *what ? "               " : "", what);
    };
    const auto line = [&](const char* name, const std::vector<double>& runs, const std::string& what) {
      out += fmt::format("  {:<12} {:>9.3f} s  {:>9.3f} s  {}\n", name, best(runs), median(runs), what);
    };
    out += fmt::format("  {:<12} {:>11}  {:>11}\n", "", "best", "median");
    once("load", seconds_.load, "");
    once("compile", seconds_.compile, "of all parts, with packing of the weights");
    line("text encode", text_encode_, guided ? "both prompts" : "one prompt");
    line("UNet step", seconds_.steps, fmt::format("{} runs", seconds_.steps.size()));
    line("VAE decode", seconds_.decode, fmt::format("{} runs", seconds_.decode.size()));
    if (!lora_changes_.empty()) line("LoRA change", lora_changes_, fmt::format("{} runs", lora_changes_.size()));
    once("20 steps", twenty_steps(), "text, 20 steps and decoder, added up");
    once("first step", first_step_, "begins so long after the start of the process");
    out += fmt::format("  {:<12} {:>8.3f} GB\n", "peak memory", static_cast<double>(peak_memory_) / 1e9);
    if (!report_.empty()) out += "\n" + report_.layer_table() + report_.class_table();
    std::fputs(out.c_str(), stdout);
  }

  Json json() const {
    const TextToImagePipeline::Info& info = pipeline_->info();
    const auto runs = [](const std::vector<double>& values) {
      return Json{{"best", best(values)}, {"median", median(values)}, {"runs", values}};
    };
    Json out = {{"model", model_.name},
                {"width", request_.width},
                {"height", request_.height},
                {"batch_size", request_.num_images_per_prompt},
                {"guidance_scale", request_.guidance_scale},
                {"steps", request_.steps},
                {"rounds", rounds_},
                {"dtype",
                 {{"text_encoder", to_string(info.text_encoder)},
                  {"unet", to_string(info.unet)},
                  {"vae", to_string(info.vae)}}},
                {"seconds",
                 {{"load", seconds_.load},
                  {"compile", seconds_.compile},
                  {"text_encode", runs(text_encode_)},
                  {"step", runs(seconds_.steps)},
                  {"decode", runs(seconds_.decode)},
                  {"twenty_steps", twenty_steps()},
                  {"start_to_first_step", first_step_}}},
                {"peak_memory_bytes", peak_memory_},
                {"device", info.device},
                {"threads", info.threads}};
    if (!lora_changes_.empty()) out["seconds"]["lora_change"] = runs(lora_changes_);
    if (!report_.empty()) out["profile"] = report_.json();
    return out;
  }

  const BenchOptions& options_;
  ProgressBar bar_;
  int64_t rounds_;
  ModelPath model_;
  std::optional<TextToImagePipeline> pipeline_;
  TextToImageRequest request_;
  Timings seconds_;
  std::vector<double> text_encode_;
  std::vector<double> lora_changes_;
  double first_step_ = 0;
  int64_t peak_memory_ = 0;
  ProfileReport report_;
};

}  // namespace

int bench(std::span<const std::string> args) {
  BenchOptions options;
  if (!options.parse(args)) return 0;
  Benchmark(options, cancel_on_interrupt()).run();
  return 0;
}

}  // namespace easel::cli
