#include "cli/options.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/fail.h"
#include "cli/lora_options.h"
#include "cli/model_lookup.h"
#include "text/prompt.h"
#include "text/unicode.h"

namespace easel::cli {

const char* const kGenerateHelp =
    R"(Usage: easel generate [PROMPT] [options]
Makes pictures from a prompt and prints their paths.
  PROMPT, --prompt TEXT         what to draw; plain UTF-8, taken literally unless a style is given
  --negative-prompt TEXT        what to keep out of the picture
  --prompt-file FILE            one prompt per line (# comments); --resume: what --out-dir lacks
  --prompt-style STYLE          comfy or a1111: weights (a:1.2), {a|b}, …: docs/PROMPTS.md, LORA.md
  --clip-skip N, --embedding FILE|DIR, --lora FILE[:W], --lora-dir DIR, --lora-mode merge|runtime
  --prompt-2 TEXT, --original-size, --target-size WxH, --crops-coords-top-left T,L,
      --aesthetic-score X, each also as --negative-…: what SDXL is told (docs/MODELS.md)
  --from-image PNG              make that picture again, from what its file says; options override

  --model DIR|FILE|NAME         folder, file (.safetensors, .ckpt, .gguf) or name (the demo model)
  --model-dir DIR               before $EASEL_MODELS (a:b:c) and ~/.local/share/easel/models
  --tokenizer, --tokenizer-2 DIR    vocab.json and merges.txt, for files with none beside them
  --unet, --vae, --text-encoder, --text-encoder-2 FILE    replaces that part of the model
  --dtype, --unet-dtype, --vae-dtype, --text-encoder-dtype TYPE    fp32, bf16 (where fast) or fp16
  --device cpu  --threads N     one per physical core; --prediction-type epsilon|v_prediction|sample
  --memory-limit BYTES          stay below it (2.6GB, 2600MiB) or say what would fit
  --offload, --vae-tiling on|off|auto, --expand-weights    one part at a time; bands; unpack GGUF

  --steps N  --seed N           denoising steps (20); default seed: random, and printed
  --sampler NAME                ddim, dpm_solver++, euler, heun, …; k_NAME: ComfyUI
  --scheduler NAME              noise levels: karras, exponential, beta, simple, sgm_uniform, …
  --sigmas A,B,…                the noise levels themselves; --rho X of karras and polyexponential
  --denoise X, --start-step N, --end-step N    only the last part, or some steps, of the schedule
  --eta, --s-churn, --s-tmin, --s-tmax, --s-noise, --rtol, --atol X    for samplers that have them
  --guidance-scale X            how strictly to follow the prompt (7.5); up to 1: without negative
  --guidance-rescale X          0 to 1; --guidance-start, --guidance-end X: only in this part
  --dynamic-thresholding X, --threshold-quantile X, --middle-prompt TEXT --middle-guidance-scale X,
  --pag-scale X, --pag-adaptive-scale X, --pag-applied-layers A,B, --freeu …: docs/SAMPLERS.md
  --rng NAME                    torch, comfy, cuda, a1111, a1111_cpu: whose random numbers (torch)
  --variation-seed N, --variation-strength X    towards another seed; --eta-noise-seed-delta N
  --width N, --height N         pixels, multiples of 8; default: the model's size, or the picture's
  --init-image FILE|FOLDER, --ip-adapter FILE    pictures: generate --help pictures|ip-adapter
  --num-images-per-prompt N (1), --batch-size N (all)  --initial-latents FILE    noise to start from

  --out-dir DIR                 for img_000_steps20.png and so on (outputs); nothing is overwritten
  --save-latents, --save-grid, --trace FILE    final latents; one picture of all; every step
  --preview-every N             pictures of unfinished steps; --preview-vae TAESD: at full size
  --json, --quiet               files, seeds, seconds as JSON on stdout; no progress, no notes
)";

void ModelOptions::add_to(Arguments& arguments) {
  arguments.text("--model", model);
  arguments.text("--model-dir", model_dir);
  arguments.text("--tokenizer", tokenizer);
  arguments.text("--tokenizer-2", tokenizer_2);
  arguments.text("--unet", unet);
  arguments.text("--vae", vae);
  arguments.text("--text-encoder", text_encoder);
  arguments.text("--text-encoder-2", text_encoder_2);
  arguments.text("--prediction-type", prediction_type);
  arguments.text("--dtype", dtype);
  arguments.text("--unet-dtype", unet_dtype);
  arguments.text("--vae-dtype", vae_dtype);
  arguments.text("--text-encoder-dtype", text_encoder_dtype);
  arguments.text("--device", device);
  arguments.whole("--threads", threads, 1, 1024);
  arguments.bytes("--memory-limit", memory_limit);
  arguments.flag("--offload", offload);
  arguments.flag("--expand-weights", expand_weights);
  arguments.text("--vae-tiling", vae_tiling);
  arguments.texts("--embedding", embeddings);
  arguments.texts("--lora", loras);
  arguments.texts("--lora-dir", lora_dirs);
  arguments.text("--lora-mode", lora_mode);
}

LoadOptions ModelOptions::load_options() const {
  const auto precision = [this](const std::optional<std::string>& part, const char* option) {
    const std::optional<std::string>& name = part ? part : dtype;
    if (!name) return Precision::automatic;
    try {
      return parse_precision(*name);
    } catch (const Error& error) {
      const std::string where = part ? option : "--dtype";
      const std::string what = error.what();
      throw Error(error.code(), what.starts_with("--") ? what : where + ": " + what);
    }
  };
  LoadOptions out;
  out.unet = precision(unet_dtype, "--unet-dtype");
  out.vae = precision(vae_dtype, "--vae-dtype");
  out.text_encoder = precision(text_encoder_dtype, "--text-encoder-dtype");
  if (device && *device != "cpu")
    fail(ErrorCode::invalid_argument, "--device: expected cpu, the only device of this version, found \"{}\"",
         printable(*device, 40));
  out.threads = static_cast<int>(threads.value_or(0));
  out.tokenizer = tokenizer.value_or("");
  out.tokenizer_2 = tokenizer_2.value_or("");
  out.tokenizer_dirs = model_folders(model_dir);
  out.prediction_type = prediction_type.value_or("");
  out.memory_limit = memory_limit.value_or(0);
  out.offload = offload;
  out.expand_weights = expand_weights;
  const std::string tiling = vae_tiling.value_or("auto");
  if (tiling != "auto" && tiling != "on" && tiling != "off")
    fail(ErrorCode::invalid_argument, "--vae-tiling: expected on, off or auto, found \"{}\"", printable(tiling, 40));
  if (tiling != "auto") out.vae_tiling = tiling == "on" ? VaeTiling::on : VaeTiling::off;
  out.embeddings = embeddings;
  out.lora_dirs = lora_dirs;
  for (const std::string& folder : lora_dirs) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error))
      fail(ErrorCode::io, "--lora-dir \"{}\": expected a folder, found none", printable(folder, 400));
  }
  const auto part = [](const std::optional<std::string>& file, const char* option) -> std::string {
    if (!file) return "";
    std::error_code error;
    if (!std::filesystem::exists(*file, error))
      fail(ErrorCode::io, "{} \"{}\": expected a file or folder, found nothing", option, printable(*file, 400));
    return *file;
  };
  out.unet_file = part(unet, "--unet");
  out.vae_file = part(vae, "--vae");
  out.text_encoder_file = part(text_encoder, "--text-encoder");
  out.text_encoder_2_file = part(text_encoder_2, "--text-encoder-2");
  return out;
}

std::vector<Lora> ModelOptions::adapters() const {
  std::vector<Lora> out;
  for (const std::string& text : loras) out.push_back(parse_lora(text, lora_dirs));
  return out;
}

LoraMode ModelOptions::adapter_mode() const {
  const std::string mode = lora_mode.value_or("merge");
  if (mode != "merge" && mode != "runtime")
    fail(ErrorCode::invalid_argument, "--lora-mode: expected merge or runtime, found \"{}\"", printable(mode, 40));
  return mode == "runtime" ? LoraMode::runtime : LoraMode::merge;
}

namespace {

void add_all(Arguments& a, GenerateOptions& o) {
  a.topic("pictures", kPicturesHelp);
  a.topic("ip-adapter", kIpAdapterHelp);
  a.positional("PROMPT", o.prompt_word);
  a.text("--prompt", o.prompt);
  a.text("--negative-prompt", o.negative_prompt);
  a.text("--prompt-2", o.prompt_2);
  a.text("--negative-prompt-2", o.negative_prompt_2);
  a.text("--prompt-file", o.prompt_file);
  a.text("--prompt-style", o.prompt_style);
  a.whole("--clip-skip", o.clip_skip, 1, 1000);
  a.text("--from-image", o.from_image);
  o.model.add_to(a);
  a.whole("--steps", o.steps, 1, 10000);
  a.text("--sampler", o.sampler);
  a.text("--scheduler", o.scheduler);
  a.number("--eta", o.eta, 0);
  a.number("--guidance-scale", o.guidance_scale, -HUGE_VAL);
  o.sampling.add_to(a);
  o.added.add_to(a);
  o.pictures.add_to(a);
  o.ip_adapters.add_to(a);
  a.seed("--seed", o.seed);
  a.whole("--width", o.width, 1, INT32_MAX);
  a.whole("--height", o.height, 1, INT32_MAX);
  a.whole("--num-images-per-prompt", o.num_images_per_prompt, 1, 10000);
  a.whole("--batch-size", o.batch_size, 1, 10000);
  a.text("--initial-latents", o.initial_latents);
  a.text("--noisy-latents", o.noisy_latents);
  a.text("--refiner", o.refiner);
  a.number("--refiner-start", o.refiner_start, 0);
  a.text("--out-dir", o.out_dir);
  a.flag("--save-latents", o.save_latents);
  a.flag("--save-grid", o.save_grid);
  a.flag("--resume", o.resume);
  a.text("--trace", o.trace);
  a.whole("--preview-every", o.preview_every, 1, 10000);
  a.text("--preview-vae", o.preview_vae);
  a.flag("--json", o.json);
  a.flag("--quiet", o.quiet);
  for (const char* name : {"--control-net", "--control-image", "--control-scale", "--preset", "--frames"})
    a.not_yet(name);
}

}  // namespace

std::vector<std::string> GenerateOptions::names() {
  GenerateOptions options;
  Arguments arguments("generate", kGenerateHelp);
  add_all(arguments, options);
  return arguments.names();
}

std::string GenerateOptions::all_help() {
  GenerateOptions options;
  Arguments arguments("generate", kGenerateHelp);
  add_all(arguments, options);
  return arguments.all_help();
}

bool GenerateOptions::parse(std::span<const std::string> args) {
  Arguments arguments("generate", kGenerateHelp);
  add_all(arguments, *this);
  if (!arguments.parse(args)) return false;
  if (out_dir && out_dir->empty()) fail(ErrorCode::invalid_argument, "--out-dir: expected a folder, found \"\"");
  if (prompt_word && prompt) fail(ErrorCode::invalid_argument, "--prompt: the prompt was given twice, once without it");
  if (prompt_word) prompt = prompt_word;
  if (prompt && prompt_file)
    fail(ErrorCode::invalid_argument, "--prompt-file: expected no other prompt, found \"{}\"", printable(*prompt, 40));
  if (!prompt && !prompt_file && !from_image)
    fail(ErrorCode::invalid_argument,
         "expected a prompt, --prompt-file or --from-image, found none of them "
         "(see easel generate --help)");
  if (preview_vae && !preview_every)
    fail(ErrorCode::invalid_argument, "--preview-vae: expected with --preview-every N, found it alone");
  if (resume && (save_grid || trace))
    fail(ErrorCode::invalid_argument, "--resume: expected without {}, which needs every picture of the run",
         save_grid ? "--save-grid" : "--trace");
  if (prompt_style) text::parse_prompt_style(*prompt_style);
  if (prompt) check_utf8(prompt_word ? "PROMPT" : "--prompt", *prompt);
  if (negative_prompt) check_utf8("--negative-prompt", *negative_prompt);
  if (prompt_2) check_utf8("--prompt-2", *prompt_2);
  if (negative_prompt_2) check_utf8("--negative-prompt-2", *negative_prompt_2);
  return true;
}

void check_utf8(const std::string& option, const std::string& text) {
  if (const auto at = text::find_invalid_utf8(text))
    fail(ErrorCode::invalid_argument, "{}: expected UTF-8, found the byte 0x{:02x} at position {}", option,
         static_cast<unsigned char>(text[*at]), *at);
  if (text.find('\0') != std::string::npos)
    fail(ErrorCode::invalid_argument, "{}: expected text, found a zero byte at position {}", option, text.find('\0'));
}

std::vector<std::string> read_prompt_file(const std::string& path) {
  constexpr size_t kMaxBytes = 64 << 20;
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    fail(ErrorCode::io, "--prompt-file {}: expected a file, found a folder", printable(path, 400));
  std::ifstream in(path, std::ios::binary);
  if (!in) fail(ErrorCode::io, "--prompt-file {}: cannot be opened", printable(path, 400));
  std::vector<std::string> prompts;
  std::string line;
  size_t bytes = 0;
  for (int number = 1; std::getline(in, line); ++number) {
    bytes += line.size() + 1;
    if (bytes > kMaxBytes) fail(ErrorCode::io, "--prompt-file {}: expected at most 64 MiB", printable(path, 400));
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos || line[line.find_first_not_of(" \t")] == '#') continue;
    check_utf8(fmt::format("--prompt-file {}, line {}", printable(path, 400), number), line);
    prompts.push_back(line);
  }
  if (prompts.empty())
    fail(ErrorCode::invalid_argument, "--prompt-file {}: expected prompts, found none", printable(path, 400));
  return prompts;
}

}  // namespace easel::cli
