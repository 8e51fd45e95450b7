// easel inspect: what a model, a weight file or a picture holds.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "cli/commands.h"
#include "cli/inspect_file.h"
#include "cli/interrupts.h"
#include "cli/model_lookup.h"
#include "cli/options.h"
#include "cli/output_files.h"
#include "io/png.h"

namespace easel::cli {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kHelp =
    R"(Usage: easel inspect [MODEL | WEIGHT FILE | PICTURE.png] [options]
       easel inspect --diff A B
Tells what a model is made of and what a picture of a size would take, without running it (its
configurations are enough); or of a weight file (.safetensors, .ckpt, .pt, .bin, .gguf, an index
of shards) or the folder of one network the family and why, what it holds, and its hashes; or how
a picture was made; or how two weight files differ; or how a prompt is read.

  --model DIR|FILE|NAME         a model, also where the argument would be taken for a weight file
  --model-dir DIR               where names are looked up first
  --unet, --vae, --text-encoder, --text-encoder-2 FILE    replaces that part of the model
  --tokenizer, --tokenizer-2 DIR    for single files that hold none
  --prediction-type NAME        epsilon, v_prediction or sample, whatever the model's files say
  --width N, --height N         pixels, multiples of 8; default: the model's size
  --num-images-per-prompt N     (1)
  --batch-size N                pictures computed together
  --guidance-scale X            1 or less: no negative branch (7.5)
  --dtype TYPE                  fp32, bf16 or fp16
  --unet-dtype, --vae-dtype, --text-encoder-dtype TYPE    for one part
  --device cpu  --threads N
  --memory-limit BYTES, --offload, --expand-weights, --vae-tiling on|off|auto    as in generate
  --prompt TEXT                 how it is read: conditionings, schedule, chunks, tokens, weights
  --prompt-style, --negative-prompt, --prompt-2, --negative-prompt-2, --steps, --seed, --clip-skip,
  --embedding                   as for generate
  --lora FILE[:WEIGHT], --lora-dir DIR, --lora-mode merge|runtime    as for generate
  --ip-adapter FILE, --ip-adapter-image FILE, --image-encoder DIR|FILE, --ip-adapter-blocks,
                                --ip-adapter-start, --ip-adapter-end    as for generate
  --kernels                     for every layer, the kernel chosen and why others were not;
                                with --json every distinct call and the rows it could take
  --diff A B                    the differences of two weight files
  --no-hash                     a weight file without SHA-256, which reads all of it
  --schedule                    instead, the noise levels that a sampler visits, as a table and as
                                schedule_000_steps20.svg in --out-dir (outputs); --steps, --sampler,
                                --scheduler, --sigmas and the other options of sampling of generate
  --json                        one JSON object on standard output
)";

void print(const Json& json) { std::puts(json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str()); }

int inspect_picture(const std::string& path, bool json) {
  const io::Png png = io::read_png(path);
  if (json) {
    Json text = Json::object();
    for (const auto& [keyword, value] : png.text) text[keyword] = value;
    print({{"file", path}, {"width", png.image.width}, {"height", png.image.height}, {"text", text}});
    return 0;
  }
  std::puts(fmt::format("{}: {}x{}", printable(path, 400), png.image.width, png.image.height).c_str());
  for (const auto& [keyword, value] : png.text) std::puts(fmt::format("{}:\n{}", keyword, value).c_str());
  return 0;
}

int inspect_schedule(const TextToImagePipeline& pipeline, const TextToImageRequest& request, const std::string& out_dir,
                     bool json) {
  const std::string svg = pipeline.describe_schedule(request, ScheduleFormat::svg);
  OutputFolder folder(out_dir);
  folder.create();
  const std::string path = folder.write_text("schedule", request.steps, "svg", svg);
  if (json) {
    Json out = Json::parse(pipeline.describe_schedule(request, ScheduleFormat::json));
    out["file"] = path;
    print(out);
  } else {
    std::fputs(pipeline.describe_schedule(request, ScheduleFormat::text).c_str(), stdout);
    std::puts(path.c_str());
  }
  return 0;
}

bool has_extension(const std::string& path, std::initializer_list<const char*> extensions) {
  std::error_code error;
  const std::filesystem::path file = path;
  if (!std::filesystem::is_regular_file(file, error)) return false;
  return std::any_of(extensions.begin(), extensions.end(),
                     [&](const char* extension) { return file.extension() == extension; });
}

// A lone weight file is listed, not taken for a model: --model does that.
bool is_weight_file(const std::string& path) {
  return has_extension(path, {".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"}) ||
         (has_extension(path, {".json"}) && path.find(".index.") != std::string::npos);
}

// The folder of one network, such as a ControlNet: its weights are listed.
bool is_part_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path / "config.json", error) &&
         !std::filesystem::exists(path / "model_index.json", error);
}

}  // namespace

int inspect(std::span<const std::string> args) {
  ModelOptions model;
  std::optional<std::string> target;
  std::optional<int64_t> width, height, images, batch, steps, clip_skip;
  std::optional<double> guidance_scale;
  std::optional<std::string> prompt, negative_prompt, prompt_2, negative_prompt_2, prompt_style;
  std::optional<uint64_t> seed;
  std::optional<std::string> sampler, scheduler, out_dir;
  SamplingArguments sampling;
  IpAdapterArguments ip_adapters;
  std::optional<std::string> diff;
  bool kernels = false, json = false, no_hash = false, schedule = false;
  Arguments arguments("inspect", kHelp);
  arguments.positional("MODEL", target);
  model.add_to(arguments);
  arguments.whole("--width", width, 1, INT32_MAX);
  arguments.whole("--height", height, 1, INT32_MAX);
  arguments.whole("--num-images-per-prompt", images, 1, 10000);
  arguments.whole("--batch-size", batch, 1, 10000);
  arguments.number("--guidance-scale", guidance_scale, -HUGE_VAL);
  arguments.text("--prompt", prompt);
  arguments.text("--negative-prompt", negative_prompt);
  arguments.text("--prompt-2", prompt_2);
  arguments.text("--negative-prompt-2", negative_prompt_2);
  arguments.text("--prompt-style", prompt_style);
  arguments.whole("--steps", steps, 1, 10000);
  arguments.seed("--seed", seed);
  arguments.whole("--clip-skip", clip_skip, 1, 1000);
  arguments.flag("--kernels", kernels);
  arguments.flag("--schedule", schedule);
  arguments.text("--sampler", sampler);
  arguments.text("--scheduler", scheduler);
  arguments.text("--out-dir", out_dir);
  sampling.add_to(arguments);
  ip_adapters.add_to(arguments);
  arguments.text("--diff", diff);
  arguments.flag("--no-hash", no_hash);
  arguments.flag("--json", json);
  if (!arguments.parse(args)) return 0;

  if (diff) {
    if (!target) fail(ErrorCode::invalid_argument, "--diff: expected two files, found one");
    return inspect_difference(*diff, *target, json), 0;
  }
  if (prompt) check_utf8("--prompt", *prompt);
  if (negative_prompt) check_utf8("--negative-prompt", *negative_prompt);
  if (prompt_2) check_utf8("--prompt-2", *prompt_2);
  if (negative_prompt_2) check_utf8("--negative-prompt-2", *negative_prompt_2);
  for (const auto& [option, given] : {std::pair("--prompt-style", prompt_style.has_value()),
                                      {"--negative-prompt", negative_prompt.has_value()},
                                      {"--prompt-2", prompt_2.has_value()},
                                      {"--negative-prompt-2", negative_prompt_2.has_value()},
                                      {"--steps", steps.has_value() && !schedule},
                                      {"--seed", seed.has_value()}})
    if (given && !prompt) fail(ErrorCode::invalid_argument, "{}: expected together with --prompt", option);
  if (!prompt && target && (is_weight_file(*target) || is_part_folder(*target)))
    return inspect_weights(*target, json, !no_hash), 0;
  if (!prompt && target && has_extension(*target, {".png"})) return inspect_picture(*target, json);
  if (target && model.model)
    fail(ErrorCode::invalid_argument, "--model: expected one model, found \"{}\" too", printable(*target, 200));
  if (target) model.model = target;
  LoadOptions load = model.load_options();
  load.cancel = cancel_on_interrupt();
  load.warn = print_warning;
  load.plan_only = true;
  load.keep_text_encoder = false;  // as generate runs
  const TextToImagePipeline pipeline = TextToImagePipeline::load(find_model(model.model, model.model_dir).path, load);
  TextToImageRequest request;
  request.width = width.value_or(0);
  request.height = height.value_or(0);
  request.num_images_per_prompt = static_cast<int>(images.value_or(1));
  request.batch_size = static_cast<int>(batch.value_or(0));
  request.guidance_scale = guidance_scale.value_or(request.guidance_scale);
  request.prompt = prompt.value_or("");
  request.negative_prompt = negative_prompt;
  request.prompt_2 = prompt_2.value_or("");
  request.negative_prompt_2 = negative_prompt_2.value_or("");
  request.prompt_style = prompt_style.value_or("");
  request.steps = static_cast<int>(steps.value_or(request.steps));
  request.seed = seed.value_or(0);
  request.clip_skip = static_cast<int>(clip_skip.value_or(0));
  request.sampler = sampler.value_or("");
  request.scheduler = scheduler.value_or("");
  sampling.apply(request);
  request.loras = model.adapters();
  request.lora_mode = model.adapter_mode();
  request.ip_adapters = ip_adapters.ip_adapters();
  if (schedule) return inspect_schedule(pipeline, request, out_dir.value_or("outputs"), json);
  std::string text = prompt ? pipeline.describe_prompt(request, json)
                     : json ? pipeline.describe_json(request, kernels)
                            : pipeline.describe(request, kernels);
  if (!text.ends_with('\n')) text += '\n';
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace easel::cli
