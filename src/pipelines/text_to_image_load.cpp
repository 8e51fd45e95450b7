// Loading a model: its files, the components made of them, and what is known of it from then on.
#include "base/fail.h"
#include "models/unet_2d_condition.h"
#include "pipelines/requests.h"
#include "pipelines/text_to_image_impl.h"
#include "pipelines/tokenizer_files.h"

namespace easel {

using pipelines::chosen_dtype;
using pipelines::Component;

DType pipelines::chosen_dtype(Precision& precision, device::Isa isa) {
  if (precision == Precision::automatic)
    precision = isa >= device::Isa::avx512_bf16 ? Precision::bf16 : Precision::fp32;
  return precision == Precision::bf16 ? DType::bf16 : precision == Precision::fp16 ? DType::f16 : DType::f32;
}

Precision parse_precision(const std::string& name) {
  if (name == "fp32") return Precision::fp32;
  if (name == "bf16") return Precision::bf16;
  if (name == "fp16") return Precision::fp16;
  if (name == "int8") fail(ErrorCode::unsupported, "int8 is not available yet; expected fp32, bf16 or fp16");
  fail(ErrorCode::invalid_argument, "expected fp32, bf16 or fp16, found '{}'", printable(name));
}

std::string to_string(Precision precision) {
  switch (precision) {
    case Precision::automatic: return "automatic";
    case Precision::fp32: return "fp32";
    case Precision::bf16: return "bf16";
    case Precision::fp16: return "fp16";
  }
  return "?";
}

namespace {

// One per text encoder. Given folders come first, then the model's own; one vocabulary serves both of SDXL's encoders.
std::vector<text::ClipTokenizer> load_tokenizers(const pipelines::ModelFiles& files, const LoadOptions& options) {
  std::vector<text::ClipTokenizer> out;
  if (!options.tokenizer_2.empty() && files.text_encoders.back().name != "text_encoder_2")
    fail(ErrorCode::invalid_argument, "--tokenizer-2 {}: expected a model with a second text encoder, found {}",
         printable(options.tokenizer_2, 400), files.family_name());
  for (const pipelines::TextEncoderFiles& encoder : files.text_encoders) {
    const bool second = encoder.name == "text_encoder_2", alone = files.text_encoders.size() == 1;
    std::string folder = second ? options.tokenizer_2 : options.tokenizer;
    if (folder.empty() && alone) folder = options.tokenizer;
    if (folder.empty()) folder = encoder.tokenizer_folder;
    if (folder.empty()) folder = options.tokenizer;
    if (folder.empty()) folder = pipelines::find_tokenizer(files.path, encoder.name, options.tokenizer_dirs);
    if (folder.empty())
      fail(ErrorCode::io,
           "{}: a single-file checkpoint holds no tokenizer; expected --tokenizer with a folder of vocab.json and "
           "merges.txt, or such a folder named tokenizer beside the file",
           printable(files.path));
    out.push_back(text::ClipTokenizer::load(folder, encoder.pad_token));
  }
  return out;
}

}  // namespace

TextToImagePipeline::Impl::Impl(const std::string& path, const LoadOptions& load_options)
    : options(load_options),
      files(pipelines::read_model(path,
                                  {load_options.unet_file, load_options.vae_file, load_options.text_encoder_file,
                                   load_options.text_encoder_2_file},
                                  !load_options.plan_only)),
      context(std::make_shared<device::Context>(load_options.threads)) {
  context->cancel = options.cancel;
  if (!options.prediction_type.empty()) {
    if (options.prediction_type != "epsilon" && options.prediction_type != "v_prediction" &&
        options.prediction_type != "sample")
      fail(ErrorCode::invalid_argument, "--prediction-type: expected epsilon, v_prediction or sample, found \"{}\"",
           printable(options.prediction_type, 40));
    files.scheduler["prediction_type"] = options.prediction_type;
    files.prediction_reason = "--prediction-type";
  }

  adapters = std::make_unique<pipelines::Adapters>(files, options.warn);
  text_encoder = std::make_unique<pipelines::PromptEncoder>(files, load_tokenizers(files, options), options, context,
                                                            chosen_dtype(options.text_encoder, context->isa), arena,
                                                            [this](Component& next) { enter(next); });
  image_prompts = std::make_unique<pipelines::ImagePrompts>(files, options, context,
                                                            chosen_dtype(options.text_encoder, context->isa), arena,
                                                            [this](Component& next) { enter(next); });
  unet = std::make_unique<Component>(models::unet_2d_condition(files.unet), files.unet_weights, context,
                                     chosen_dtype(options.unet, context->isa), arena, !options.expand_weights);
  vae_decoder = std::make_unique<Component>(pipelines::vae_decoder_graph(files), files.vae_weights, context,
                                            chosen_dtype(options.vae, context->isa), arena, !options.expand_weights);

  info.path = path;
  info.family = files.family_name();
  info.prediction_type = files.scheduler.value("prediction_type", "epsilon");
  info.scheduler_class = files.scheduler.value("_class_name", "");
  info.default_width = files.sample_width * files.vae.downscale();
  info.default_height = files.sample_height * files.vae.downscale();
  info.unet = options.unet;
  info.vae = options.vae;
  info.text_encoder = options.text_encoder;
  info.device = fmt::format("cpu ({}, {})", device::cpu_model_name(), to_string(context->isa));
  info.threads = context->pool->threads();
}

void TextToImagePipeline::Impl::require_weights() const {
  if (options.plan_only)
    fail(ErrorCode::invalid_argument, "{}: was loaded with plan_only, which runs nothing", printable(info.path));
}

}  // namespace easel
