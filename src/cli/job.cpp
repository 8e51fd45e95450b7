#include "cli/job.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "base/fail.h"
#include "cli/lora_options.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "text/prompt.h"
#include "text/unicode.h"

namespace easel::cli {

namespace {

Tensor read_latents(const char* option, const std::string& path) {
  const std::string where = std::string(option) + " " + printable(path, 400);
  const io::SafetensorsFile file = io::SafetensorsFile::open(path);
  const io::TensorInfo* info = file.find("latents");
  if (!info) fail(ErrorCode::io, "{}: expected a tensor \"latents\", found none of that name", where);
  if (!is_floating(info->dtype) || info->shape.rank() != 4)
    fail(ErrorCode::shape_mismatch, "{}: tensor \"latents\": expected floating-point [N, C, h, w], found {} {}", where,
         to_string(info->dtype), info->shape.str());
  const Tensor latents = file.tensor("latents").clone().to(DType::f32);
  for (const float value : latents.span<float>())
    if (!std::isfinite(value))
      fail(ErrorCode::io, "{}: tensor \"latents\": expected finite numbers, found {}", where, value);
  return latents;
}

PictureMetadata read_picture(const std::string& path) {
  const std::string where = "--from-image " + printable(path, 400);
  PictureMetadata metadata = from_png_text(io::read_png(path).text, where);
  const auto check = [&](const char* field, const std::optional<int64_t>& value, int64_t min, int64_t max) {
    if (value && (*value < min || *value > max))
      fail(ErrorCode::io, "{}: {}: expected {} to {}, found {}", where, field, min, max, *value);
  };
  check("steps", metadata.steps, 1, 10000);
  check("num_images_per_prompt", metadata.num_images_per_prompt, 1, 10000);
  check("clip_skip", metadata.clip_skip, 1, 1000);
  check("index", metadata.index, 0, metadata.num_images_per_prompt.value_or(1) - 1);
  return metadata;
}

// The option, else what the picture says.
template <typename T>
const std::optional<T>& either(const std::optional<T>& option, const std::optional<T>& picture) {
  return option ? option : picture;
}

uint64_t random_seed() {
  std::random_device device;
  return device();  // 32 bits, as other programs use: short enough to type
}

// The path a picture names is tried first, then its name; both may come from another machine.
ModelPath find_picture_model(const PictureMetadata& picture, const GenerateOptions& options) {
  const std::optional<std::string>& model_dir = options.model.model_dir;
  if (!picture.model && !picture.model_path) return find_model(std::nullopt, model_dir);
  if (picture.model_path) {
    const std::string path = expand_home(*picture.model_path);
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (std::filesystem::is_directory(status) || std::filesystem::is_regular_file(status))
      return find_model(path, model_dir);
  }
  try {
    return find_model(picture.model.value_or(""), model_dir);
  } catch (const Error& error) {
    fail(error.code(), "--from-image {}: {}; name the model with --model", printable(*options.from_image, 400),
         error.what());
  }
}

// The second model of a hand-over.
void take_refiner(const GenerateOptions& options, const PictureMetadata& picture, Job& job) {
  const std::optional<std::string>& refiner = either(options.refiner, picture.refiner);
  const std::optional<double>& start = either(options.refiner_start, picture.refiner_start);
  if (!refiner) {
    if (start) fail(ErrorCode::invalid_argument, "--refiner-start: expected with --refiner, found none");
    return;
  }
  job.refiner = find_model(expand_home(*refiner), options.model.model_dir);
  job.refiner_start = start.value_or(job.refiner_start);
  if (!(job.refiner_start > 0 && job.refiner_start < 1))
    fail(ErrorCode::invalid_argument, "--refiner-start: expected between 0 and 1, found {}", job.refiner_start);
  const char* other = job.sampling.denoising_start  ? "--denoising-start"
                      : job.sampling.denoising_end  ? "--denoising-end"
                      : job.pictures.hires_scale    ? "--hires-scale"
                      : options.noisy_latents       ? "--noisy-latents"
                      : options.pictures.init_image ? "--init-image"
                                                    : nullptr;
  if (other) fail(ErrorCode::invalid_argument, "--refiner: expected without {}", other);
}

// The options, else what the picture of --from-image says, if its files are still there.
PictureArguments pictures_of(const GenerateOptions& options, const PictureMetadata& picture,
                             const std::function<void(const std::string&)>& warn) {
  PictureArguments out = options.pictures.over(picture.pictures);
  // A foreign picture tells the strength, but not the picture that it began from.
  if (!out.init_image && !options.pictures.strength) out.strength.reset();
  if (!out.init_image && !options.pictures.mask_blur) out.mask_blur.reset();
  const auto check = [&](const char* option, const std::optional<std::string>& given,
                         const std::optional<std::string>& path, const std::optional<std::string>& hash) {
    if (!path || given || !hash) return;
    const std::string file = expand_home(*path);
    std::error_code error;
    if (!std::filesystem::is_regular_file(file, error))
      fail(ErrorCode::io, "--from-image {}: the picture began from {}, which is not there; name it with {}",
           printable(*options.from_image, 400), printable(file, 400), option);
    if (io::sha256_of_file(file) != *hash)
      warn(fmt::format("{} {}: not what it was when the picture of --from-image was made", option,
                       printable(file, 400)));
  };
  check("--init-image", options.pictures.init_image, picture.pictures.init_image, picture.init_image_sha256);
  if (!options.pictures.init_image) check("--mask", options.pictures.mask, picture.pictures.mask, picture.mask_sha256);
  return out;
}

}  // namespace

std::string content_hash(const Tensor& values) {
  uint64_t hash = 14695981039346656037u;
  std::string shape;
  for (const int64_t dim : values.shape()) shape += fmt::format("{}{}", shape.empty() ? "" : "x", dim);
  for (const std::byte byte : std::span(values.raw(), static_cast<size_t>(values.bytes())))
    hash = (hash ^ static_cast<uint64_t>(byte)) * 1099511628211u;
  return fmt::format("{}-{:016x}", shape, hash);
}

Job plan_job(const GenerateOptions& options, const std::function<void(const std::string&)>& warn) {
  PictureMetadata picture;
  if (options.from_image) picture = read_picture(*options.from_image);

  Job job;
  const bool model_of_picture = options.from_image && !options.model.model;
  job.model = model_of_picture ? find_picture_model(picture, options)
                               : find_model(options.model.model, options.model.model_dir);
  ModelOptions model = options.model;
  if (!model.dtype) {
    model.unet_dtype = either(model.unet_dtype, picture.unet_dtype);
    model.vae_dtype = either(model.vae_dtype, picture.vae_dtype);
    model.text_encoder_dtype = either(model.text_encoder_dtype, picture.text_encoder_dtype);
  }
  if (model_of_picture && picture.tokenizer && !model.tokenizer) model.tokenizer = expand_home(*picture.tokenizer);
  if (model_of_picture && picture.tokenizer_2 && !model.tokenizer_2)
    model.tokenizer_2 = expand_home(*picture.tokenizer_2);
  if (model_of_picture) model.prediction_type = either(model.prediction_type, picture.prediction_type);
  if (model.embeddings.empty() && picture.embeddings)
    for (const std::string& path : *picture.embeddings) model.embeddings.push_back(expand_home(path));
  if (model_of_picture) {
    const auto take = [](std::optional<std::string>& file, const std::optional<std::string>& of_picture) {
      if (!file && of_picture) file = expand_home(*of_picture);
    };
    take(model.unet, picture.unet_file);
    take(model.vae, picture.vae_file);
    take(model.text_encoder, picture.text_encoder_file);
    take(model.text_encoder_2, picture.text_encoder_2_file);
  }
  if (model.lora_dirs.empty() && picture.lora_dirs)
    for (const std::string& path : *picture.lora_dirs) model.lora_dirs.push_back(expand_home(path));
  if (model.loras.empty() && picture.loras)
    for (const std::string& lora : *picture.loras) model.loras.push_back(expand_home(lora));
  if (!model.lora_mode) model.lora_mode = picture.lora_mode;
  job.load = model.load_options();
  // The prompts of a call are all encoded before the first picture.
  job.load.keep_text_encoder = false;

  TextToImageRequest base;
  base.loras = model.adapters();
  base.lora_mode = model.adapter_mode();
  base.negative_prompt = either(options.negative_prompt, picture.negative_prompt);
  base.prompt_2 = either(options.prompt_2, picture.prompt_2).value_or("");
  base.negative_prompt_2 = either(options.negative_prompt_2, picture.negative_prompt_2).value_or("");
  base.prompt_style = either(options.prompt_style, picture.prompt_style).value_or("");
  base.clip_skip = static_cast<int>(either(options.clip_skip, picture.clip_skip).value_or(0));
  base.steps = static_cast<int>(either(options.steps, picture.steps).value_or(base.steps));
  base.guidance_scale = either(options.guidance_scale, picture.guidance_scale).value_or(base.guidance_scale);
  base.sampler = either(options.sampler, picture.sampler).value_or("");
  base.scheduler = either(options.scheduler, picture.scheduler).value_or("");
  base.eta = either(options.eta, picture.eta);
  job.sampling = options.sampling.over(picture.sampling);
  job.sampling.apply(base);
  job.added = options.added.over(picture.added);
  job.added.apply(base);
  base.width = either(options.width, picture.width).value_or(0);
  base.height = either(options.height, picture.height).value_or(0);
  base.num_images_per_prompt =
      static_cast<int>(either(options.num_images_per_prompt, picture.num_images_per_prompt).value_or(1));
  base.batch_size = static_cast<int>(options.batch_size.value_or(0));
  const std::optional<uint64_t>& seed = either(options.seed, picture.seed);
  job.random_seed = !seed;
  base.seed = seed ? *seed : random_seed();

  job.pictures = pictures_of(options, picture, warn);
  base.high_res_fix = high_res_fix(job.pictures);
  job.control =
      options.control.over(picture.control, "--from-image " + printable(options.from_image.value_or(""), 400), warn);
  base.control_nets = job.control.inputs(options.model.model_dir);
  base.control_guess_mode = job.control.control_guess_mode.value_or(false);
  job.control = job.control.described();
  job.ip_adapters = options.ip_adapters.over(picture.ip_adapters);
  if (options.from_image && options.ip_adapters.adapters.empty())
    job.ip_adapters.check_hashes("--from-image " + printable(*options.from_image, 400), warn);
  base.ip_adapters = job.ip_adapters.ip_adapters();
  job.ip_adapters = job.ip_adapters.portable();
  const auto take_latents = [&](const char* option, const std::optional<std::string>& file,
                                const std::optional<std::string>& of_picture, std::optional<Tensor>& latents,
                                std::string& hash) {
    if (of_picture && !file)
      fail(ErrorCode::invalid_argument,
           "--from-image {}: the picture began from given latents; name their file again with {}",
           printable(*options.from_image, 400), option);
    if (!file) return;
    latents = read_latents(option, *file);
    hash = content_hash(*latents);
    if (of_picture && *of_picture != hash)
      warn(fmt::format("{} {}: other latents than the picture of --from-image began from", option,
                       printable(*file, 400)));
  };
  take_latents("--initial-latents", options.initial_latents, picture.initial_latents, base.initial_latents,
               job.latents_hash);
  take_latents("--noisy-latents", options.noisy_latents, picture.noisy_latents, base.noisy_latents,
               job.noisy_latents_hash);
  take_refiner(options, picture, job);

  const std::vector<std::string> prompts =
      options.prompt_file ? read_prompt_file(*options.prompt_file)
                          : std::vector<std::string>{either(options.prompt, picture.prompt).value_or("")};
  for (const InputFiles& files : find_inputs(job.pictures)) {
    base.image = picture_inputs(job.pictures, files);
    for (const std::string& prompt : prompts) {
      job.inputs.push_back(files);
      job.requests.push_back(base);
      job.requests.back().prompt = prompt;
    }
  }
  if (options.trace && job.requests.size() > 1)
    fail(ErrorCode::invalid_argument, "--trace: expected a single prompt and picture, found {}", job.requests.size());
  if (picture.index && !options.num_images_per_prompt && job.requests.size() == 1)
    job.only_index = static_cast<int>(*picture.index);
  return job;
}

void leave_out_of_picture(Job& job, const GenerateOptions& options, const TextToImagePipeline::Info& info,
                          const std::function<void(const std::string&)>& warn) {
  if (!options.from_image || info.family.starts_with("Stable Diffusion XL")) return;
  bool left_out = false;
  AddedArguments::each([&](const char*, const auto& all, const auto& given) { left_out |= all && !given; }, job.added,
                       options.added);
  job.added = options.added;
  for (TextToImageRequest& request : job.requests) {
    request.added = {};
    job.added.apply(request);
    for (auto [text, option] :
         {std::pair(&request.prompt_2, &options.prompt_2), {&request.negative_prompt_2, &options.negative_prompt_2}}) {
      left_out |= !text->empty() && !*option;
      *text = option->value_or("");
    }
  }
  if (left_out)
    warn(fmt::format("--from-image {}: what it says for Stable Diffusion XL alone is left out: the model is {}",
                     printable(*options.from_image, 400), info.family));
}

PictureMetadata describe_picture(const Job& job, size_t number, const Picture& picture,
                                 const TextToImagePipeline::Info& info, const std::string& lora_hashes) {
  const TextToImageRequest& request = job.requests[number];
  PictureMetadata m;
  m.prompt = request.prompt;
  m.negative_prompt = request.negative_prompt;
  if (!request.prompt_2.empty()) m.prompt_2 = request.prompt_2;
  if (!request.negative_prompt_2.empty()) m.negative_prompt_2 = request.negative_prompt_2;
  if (text::parse_prompt_style(request.prompt_style) != text::PromptStyle::plain) {
    m.prompt_style = request.prompt_style;
    if (!job.load.embeddings.empty()) m.embeddings.emplace();
    for (const std::string& path : job.load.embeddings) m.embeddings->push_back(text::utf8_lossy(portable_path(path)));
  }
  const auto list = [](std::optional<std::vector<std::string>>& field, const auto& values, const auto& text_of) {
    if (!values.empty()) field.emplace();
    for (const auto& value : values) field->push_back(text_of(value));
  };
  list(m.loras, request.loras, format_lora);
  if (request.lora_mode == LoraMode::runtime) m.lora_mode = "runtime";
  // Where names of the prompt were found.
  if (!lora_hashes.empty())
    list(m.lora_dirs, job.load.lora_dirs,
         [](const std::string& path) { return text::utf8_lossy(portable_path(path)); });
  if (!lora_hashes.empty()) m.lora_hashes = lora_hashes;
  if (request.clip_skip != 0) m.clip_skip = request.clip_skip;
  m.steps = request.steps;
  const InputFiles& inputs = job.inputs[number];
  m.pictures = job.pictures;
  m.ip_adapters = job.ip_adapters;
  const auto note_input = [](std::optional<std::string>& path, std::optional<std::string>& hash,
                             const std::string& file) {
    if (file.empty()) return;
    path = text::utf8_lossy(portable_path(file));
    hash = io::sha256_of_file(file);
  };
  note_input(m.pictures.init_image, m.init_image_sha256, inputs.init_image);
  note_input(m.pictures.mask, m.mask_sha256, inputs.mask);
  m.control = job.control;
  // The size that was asked for; a masked picture keeps its own, which says nothing of the canvas.
  const bool own_size = request.image.mask || request.image.outpaint.any() || request.high_res_fix.scale != 1;
  if (request.width > 0 || !own_size) m.width = request.width > 0 ? request.width : picture.width;
  if (request.height > 0 || !own_size) m.height = request.height > 0 ? request.height : picture.height;
  m.num_images_per_prompt = request.num_images_per_prompt;
  m.index = picture.index;
  m.sampler = request.sampler;
  m.scheduler = request.scheduler;
  m.scheduler_class = info.scheduler_class;
  m.guidance_scale = request.guidance_scale;
  m.eta = request.eta;
  m.sampling = job.sampling;
  m.added = job.added;
  m.seed = request.seed;
  m.unet_dtype = to_string(info.unet);
  m.vae_dtype = to_string(info.vae);
  m.text_encoder_dtype = to_string(info.text_encoder);
  m.model = text::utf8_lossy(job.model.name);
  if (job.model.name != "demo") m.model_path = text::utf8_lossy(portable_path(job.model.path));
  if (!job.load.tokenizer.empty()) m.tokenizer = text::utf8_lossy(portable_path(job.load.tokenizer));
  const auto note = [](std::optional<std::string>& field, const std::string& path) {
    if (!path.empty()) field = text::utf8_lossy(portable_path(path));
  };
  note(m.unet_file, job.load.unet_file);
  note(m.vae_file, job.load.vae_file);
  note(m.text_encoder_file, job.load.text_encoder_file);
  note(m.text_encoder_2_file, job.load.text_encoder_2_file);
  note(m.tokenizer_2, job.load.tokenizer_2);
  if (!job.load.prediction_type.empty()) m.prediction_type = job.load.prediction_type;
  if (!job.latents_hash.empty()) m.initial_latents = job.latents_hash;
  if (!job.noisy_latents_hash.empty()) m.noisy_latents = job.noisy_latents_hash;
  if (job.refiner) {
    m.refiner = text::utf8_lossy(portable_path(job.refiner->path));
    m.refiner_start = job.refiner_start;
  }
  return m;
}

}  // namespace easel::cli
