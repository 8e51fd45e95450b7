// easel convert: model files → other model files.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include <easel/convert.h>

#include "base/fail.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/interrupts.h"
#include "cli/lora_options.h"
#include "cli/progress_bar.h"

namespace easel::cli {

namespace {

constexpr const char* kHelp =
    R"(Usage: easel convert INPUT OUTPUT [options]
       easel convert A B [C] OUTPUT --weights X,Y[,Z] | --add-difference X
Writes a model, or any file of tensors, in another form. INPUT: .safetensors, .ckpt, .pt, .pth,
.bin, .gguf, an index of shards, or a diffusers folder. OUTPUT: .safetensors, .gguf, or a new folder
(diffusers layout).

  --dtype TYPE           fp32, fp16, bf16, f8_e4m3, f8_e5m2; for .gguf also q8_0, q6_k, q5_k, q5_1,
                         q5_0, q4_k, q4_1, q4_0, iq4_nl, iq4_xs, q3_k, q2_k. Default: as stored
  --names NAMES          keep, original or diffusers; default: keep, and original names for a folder
                         that becomes a file
  --component PART       unet, vae, text_encoder or text_encoder_2 alone, in a file
  --vae FILE             replaces the VAE
  --lora FILE[:WEIGHT]   merges an adapter in, repeatable; --lora-dir DIR: see docs/LORA.md
  --tokenizer DIR        vocab.json and merges.txt for a new folder; single files hold none
  --max-shard-size SIZE  several safetensors files of at most 2GB, 500MB, …, with an index
  --weights X,Y[,Z]      merge: X·A + Y·B + Z·C
  --add-difference X     merge: A + X·(B − C)
  --check                read the result back and compare every value with its source
  --json                 one JSON object on standard output
  --quiet                no progress

Packed types keep the VAE, embeddings and the ends of the UNet as fp16, and norms and biases as fp32.
Memory does not grow with the files.
)";

std::vector<double> parse_weights(const std::string& text) {
  std::vector<double> out;
  for (const std::string& word : split_commas(text)) out.push_back(parse_number("--weights", word, -HUGE_VAL));
  return out;
}

TensorNames parse_names(const std::string& text) {
  if (text == "keep") return TensorNames::keep;
  if (text == "original" || text == "ldm") return TensorNames::original;
  if (text == "diffusers") return TensorNames::diffusers;
  fail(ErrorCode::invalid_argument, "--names: expected keep, original or diffusers, found \"{}\"", printable(text, 40));
}

void print_json(const ConvertResult& result, bool checked) {
  nlohmann::ordered_json out = {
      {"files", result.files}, {"tensors", result.tensors}, {"bytes", result.bytes}, {"left_out", result.left_out}};
  if (checked) {
    nlohmann::ordered_json worst = nlohmann::ordered_json::object();
    for (const auto& [encoding, found] : result.check.worst)
      worst[encoding] = {{"relative_error", found.first}, {"tensor", found.second}};
    out["check"] = {{"tensors", result.check.tensors}, {"exact", result.check.exact}, {"worst", worst}};
  }
  std::puts(out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
}

void print_text(const ConvertResult& result, const std::string& output, bool checked) {
  std::puts(output.c_str());
  if (!checked) return;
  std::puts(fmt::format("check: {} of {} tensors have exactly their source's values", result.check.exact,
                        result.check.tensors)
                .c_str());
  for (const auto& [encoding, found] : result.check.worst)
    if (found.first > 0)
      std::puts(
          fmt::format("check: {:<8} relative error up to {:.2e} ({})", encoding, found.first, printable(found.second))
              .c_str());
}

}  // namespace

int convert(std::span<const std::string> args) {
  std::optional<std::string> paths[4], dtype, names, component, vae, tokenizer, weights;
  std::optional<int64_t> shard;
  std::optional<double> difference;
  std::vector<std::string> loras, lora_dirs;
  bool check = false, json = false, quiet = false;
  Arguments arguments("convert", kHelp);
  arguments.positional("INPUT", paths[0]);
  arguments.positional("OUTPUT", paths[1]);
  arguments.positional("THIRD", paths[2]);
  arguments.positional("FOURTH", paths[3]);
  arguments.text("--dtype", dtype);
  arguments.text("--names", names);
  arguments.text("--component", component);
  arguments.text("--vae", vae);
  arguments.text("--tokenizer", tokenizer);
  arguments.bytes("--max-shard-size", shard);
  arguments.text("--weights", weights);
  arguments.number("--add-difference", difference, -HUGE_VAL);
  arguments.flag("--check", check);
  arguments.flag("--json", json);
  arguments.flag("--quiet", quiet);
  arguments.texts("--lora", loras);
  arguments.texts("--lora-dir", lora_dirs);
  if (!arguments.parse(args)) return 0;

  ConvertOptions options;
  for (const auto& path : paths)
    if (path) options.inputs.push_back(*path);
  if (options.inputs.size() < 2)
    fail(ErrorCode::invalid_argument, "expected INPUT and OUTPUT (see easel convert --help)");
  options.output = options.inputs.back();
  options.inputs.pop_back();
  if (options.output.empty()) fail(ErrorCode::invalid_argument, "OUTPUT: expected a file or folder, found \"\"");
  const size_t count = options.inputs.size();
  if (weights && difference)
    fail(ErrorCode::invalid_argument, "--add-difference: expected without --weights, found both");
  if (difference) {
    if (count != 3)
      fail(ErrorCode::invalid_argument, "--add-difference: expected three inputs A, B and C, found {}", count);
    options.weights = {1, *difference, -*difference};
  } else if (weights) {
    options.weights = parse_weights(*weights);
    if (options.weights.size() != count)
      fail(ErrorCode::invalid_argument, "--weights: expected {} numbers, one per input, found {}", count,
           options.weights.size());
    if (count == 1) fail(ErrorCode::invalid_argument, "--weights: expected two or three inputs, found one");
  } else if (count > 1) {
    fail(ErrorCode::invalid_argument,
         "expected --weights or --add-difference to merge {} inputs, found neither (see easel convert --help)", count);
  }
  options.dtype = dtype.value_or("");
  if (dtype && dtype->empty()) fail(ErrorCode::invalid_argument, "--dtype: expected a type, found \"\"");
  if (names) options.names = parse_names(*names);
  if (component && component->empty())
    fail(ErrorCode::invalid_argument, "--component: expected unet, vae, text_encoder or text_encoder_2, found \"\"");
  options.component = component.value_or("");
  options.vae = vae.value_or("");
  for (const std::string& lora : loras) options.loras.push_back(parse_lora(lora, lora_dirs));
  options.warn = print_warning;
  options.tokenizer = tokenizer.value_or("");
  options.max_shard_bytes = static_cast<uint64_t>(shard.value_or(0));
  options.check = check;
  options.cancel = cancel_on_interrupt();

  ConvertResult result;
  {
    ProgressBar bar(!quiet);
    options.progress = [&bar](uint64_t done, uint64_t all) {
      bar.phase(fmt::format("writing {} of {} MB", done / 1'000'000, all / 1'000'000));
    };
    bar.phase("reading");
    result = easel::convert(options);
  }
  if (!result.left_out.empty() && !quiet)
    print_warning(fmt::format("{} tensors have no place in the new layout and were left out, such as '{}'",
                              result.left_out.size(), printable(result.left_out.front())));
  if (json)
    print_json(result, check);
  else
    print_text(result, options.output, check);
  return 0;
}

}  // namespace easel::cli
