// A whole model from one file, with components from others.
#include "base/fail.h"
#include "pipelines/families.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

namespace {

// The components that the file lacks and no option gives, with the option that would.
void expect_components(const Identity& identity, const ComponentPaths& replaced, const std::string& where) {
  std::string missing, options;
  const auto check = [&](Part part, const std::string& path, const char* name, const char* option) {
    if (identity.find(part) || !path.empty()) return;
    missing += fmt::format("{}{}", missing.empty() ? "" : " and ", name);
    options += fmt::format("{}{} FILE", options.empty() ? "" : " and ", option);
  };
  check(Part::denoiser, replaced.unet, "UNet", "--unet");
  check(Part::vae, replaced.vae, "VAE", "--vae");
  check(Part::text_encoder, replaced.text_encoder, "text encoder", "--text-encoder");
  if (!missing.empty())
    fail(ErrorCode::io, "{}: expected a whole model, found no {} in it ({}); {} supplies what is missing", where,
         missing, identity.summary(), options);
}

}  // namespace

nlohmann::json single_file_scheduler(const std::string& prediction_type) {
  nlohmann::json out = {{"_class_name", "PNDMScheduler"},   {"beta_start", 0.00085},       {"beta_end", 0.012},
                        {"beta_schedule", "scaled_linear"}, {"num_train_timesteps", 1000}, {"skip_prk_steps", true},
                        {"set_alpha_to_one", false},        {"steps_offset", 1},           {"clip_sample", false}};
  if (prediction_type == "v_prediction") out["prediction_type"] = prediction_type;
  return out;
}

ModelFiles read_single_file(const std::string& path, const ComponentPaths& replaced) {
  const std::string where = printable(path, 400);
  const io::WeightFiles weights = io::WeightFiles::open(path);
  const Identity identity = identify(weights);
  if (replaced.unet.empty()) {
    expect_part(weights, Part::denoiser, where);
    expect_one_family(weights, replaced.text_encoder.empty(), where);
  }
  expect_components(identity, replaced, where);

  ModelFiles files;
  files.path = path;
  files.layout = "single file, " + std::string(to_string(weights.files().front().container()));
  files.family = "Stable Diffusion 1.x";
  const UNetFiles unet = replaced.unet.empty() ? read_unet(weights, where)
                                               : read_unet(replaced.unet, "--unet " + printable(replaced.unet, 400));
  const VaeFiles vae =
      replaced.vae.empty() ? read_vae(weights, where) : read_vae(replaced.vae, "--vae " + printable(replaced.vae, 400));
  const TextEncoderFiles text =
      replaced.text_encoder.empty()
          ? read_text_encoder(weights, where)
          : read_text_encoder(replaced.text_encoder, "--text-encoder " + printable(replaced.text_encoder, 400));
  files.unet = unet.config;
  files.unet_weights = unet.weights;
  files.vae = vae.config;
  files.tiny_vae = vae.tiny;
  files.vae_weights = vae.weights;
  files.text_encoder = text.config;
  files.text_encoder_weights = text.weights;
  files.scheduler = single_file_scheduler(identify(unet.weights->files()).prediction_type);
  return files;
}

}  // namespace easel::pipelines
