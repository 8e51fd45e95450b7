// A whole model from one file, with components from others.
#include <algorithm>
#include <filesystem>

#include "base/fail.h"
#include "pipelines/families.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace {

// Which networks a UNet file or checkpoint is made for.
Family family_in(const Identity& identity) {
  const Match* denoiser = identity.find(Part::denoiser);
  for (const Family family : {Family::sd2, Family::sdxl, Family::sdxl_refiner})
    if (denoiser && denoiser->row->family == std::string(to_string(family))) return family;
  return Family::sd1;
}

// Of the UNet that is to run: of a component folder its configuration tells, but which sizes it is told is still open,
// and there the text encoders decide.
Family family_of_replacement(const std::string& path, const Identity& rest) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return family_in(identify(io::WeightFiles::open(path)));
  const UNetFiles unet = read_unet(path, "--unet " + printable(path, 400));
  if (unet.config.addition_embed_type == models::AddedEmbedding::none) return family_of(unet.config);
  const auto encoders =
      std::ranges::count_if(rest.parts, [](const Match& match) { return match.row->part == Part::text_encoder; });
  const Match* text = rest.find(Part::text_encoder);
  return encoders == 1 && text->row->layout == std::string("open_clip") ? Family::sdxl_refiner : Family::sdxl;
}

// The components that the file lacks and no option gives, with the option that would.
void expect_components(const Identity& identity, Family family, const ComponentPaths& replaced,
                       const std::string& where) {
  // OpenCLIP's is the second one where there are two places.
  bool first = false, second = false;
  for (const Match& match : identity.parts) {
    if (match.row->part != Part::text_encoder) continue;
    const bool open_clip =
        match.row->layout == std::string("open_clip") || match.row->family == std::string("OpenCLIP-bigG");
    (is_xl(family) && open_clip ? second : first) = true;
  }
  std::string missing, options;
  const auto check = [&](bool there, const std::string& path, const char* name, const char* option) {
    if (there || !path.empty()) return;
    missing += fmt::format("{}{}", missing.empty() ? "" : " and ", name);
    options += fmt::format("{}{} FILE", options.empty() ? "" : " and ", option);
  };
  check(identity.find(Part::denoiser), replaced.unet, "UNet", "--unet");
  check(identity.find(Part::vae), replaced.vae, "VAE", "--vae");
  if (family != Family::sdxl_refiner) check(first, replaced.text_encoder, "text encoder", "--text-encoder");
  if (is_xl(family)) check(second, replaced.text_encoder_2, "second text encoder", "--text-encoder-2");
  if (!missing.empty())
    fail(ErrorCode::io, "{}: expected a whole model, found no {} in it ({}); {} {} what is missing", where, missing,
         identity.summary(), options, options.find(" and ") == std::string::npos ? "supplies" : "supply");
}

}  // namespace

nlohmann::json single_file_scheduler(Family family, const std::string& prediction_type) {
  nlohmann::json out = {{"_class_name", "PNDMScheduler"},   {"beta_start", 0.00085},       {"beta_end", 0.012},
                        {"beta_schedule", "scaled_linear"}, {"num_train_timesteps", 1000}, {"skip_prk_steps", true},
                        {"set_alpha_to_one", false},        {"steps_offset", 1},           {"clip_sample", false}};
  if (prediction_type == "v_prediction") {
    out["prediction_type"] = prediction_type;
    if (family == Family::sd2) out["_class_name"] = "DDIMScheduler";
  }
  if (is_xl(family)) {
    out["_class_name"] = "EulerDiscreteScheduler";
    out["timestep_spacing"] = "leading";
  }
  return out;
}

int64_t single_file_sample_size(Family family, const std::string& prediction_type) {
  if (is_xl(family)) return 128;
  return family == Family::sd2 && prediction_type == "v_prediction" ? 96 : 64;
}

ModelFiles read_single_file(const std::string& path, const ComponentPaths& replaced) {
  const std::string where = printable(path, 400);
  const io::WeightFiles weights = io::WeightFiles::open(path);
  const Identity identity = identify(weights);
  if (replaced.unet.empty()) {
    expect_part(weights, Part::denoiser, where);
    expect_one_family(weights, replaced.text_encoder.empty(), where);
    expect_unet_family(weights, where);  // before its other parts are asked for
  }
  const Family family = replaced.unet.empty() ? family_in(identity) : family_of_replacement(replaced.unet, identity);
  expect_components(identity, family, replaced, where);

  ModelFiles files;
  files.path = path;
  files.layout = "single file, " + std::string(to_string(weights.files().front().container()));
  const UNetFiles unet = replaced.unet.empty() ? read_unet(weights, where)
                                               : read_unet(replaced.unet, "--unet " + printable(replaced.unet, 400));
  const VaeFiles vae =
      replaced.vae.empty() ? read_vae(weights, where) : read_vae(replaced.vae, "--vae " + printable(replaced.vae, 400));
  files.unet = unet.config;
  files.unet_weights = unet.weights;
  files.vae = vae.config;
  files.tiny_vae = vae.tiny;
  files.vae_weights = vae.weights;

  const bool adapter = identity.find(Part::lora) || identity.find(Part::control_net) || identity.find(Part::adapter);
  std::vector<TextEncoderFiles> own;
  if (identity.find(Part::text_encoder) && !adapter) own = read_text_encoders(weights, where);
  const auto text = [&](const std::string& name, const std::string& other, const char* option) {
    if (!other.empty()) {
      files.text_encoders.push_back(
          read_text_encoder(other, fmt::format("{} {}", option, printable(other, 400)), name == "text_encoder_2"));
      return;
    }
    for (TextEncoderFiles& encoder : own)
      if (encoder.name == name) files.text_encoders.push_back(encoder);
  };
  if (family != Family::sdxl_refiner) text("text_encoder", replaced.text_encoder, "--text-encoder");
  if (is_xl(family)) text("text_encoder_2", replaced.text_encoder_2, "--text-encoder-2");
  fit_parts(files, unet.configured);
  files.family = family_of(files.unet);
  files.family_reason = identity.evidence();
  if (!vae.configured) files.vae.scaling_factor = family_scaling_factor(files.family);
  const Identity unet_identity = identify(unet.weights->files());
  files.scheduler = single_file_scheduler(files.family, unet_identity.prediction_type);
  files.prediction_reason = unet_identity.prediction_reason;
  files.force_zeros_for_empty_prompt = files.family == Family::sdxl;
  files.sample_height = files.sample_width = single_file_sample_size(files.family, unet_identity.prediction_type);
  return files;
}

}  // namespace easel::pipelines
