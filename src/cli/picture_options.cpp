#include "cli/picture_options.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"
#include "cli/model_lookup.h"
#include "cli/picture_files.h"

namespace easel::cli {

namespace fs = std::filesystem;

const char* const kPicturesHelp =
    R"(Usage: easel generate [PROMPT] --init-image FILE [options]
Makes pictures from a picture. PNG, JPEG and WebP are read. The result has the picture's size unless
--width and --height say otherwise; the picture is then resized, by Lanczos as in diffusers.
  --init-image FILE|FOLDER      the picture, or a folder: each of its pictures with each prompt
  --strength X                  how far from it, above 0 to 1 (0.8; with a mask 1); diffusers'
                                samplers leave out steps, ComfyUI's (k_…) lay all into that part

Drawing a part anew; all other pixels stay as they are, bit for bit.
  --mask FILE|FOLDER            white is drawn anew; of the picture's size, or a folder of masks
                                that are named as the pictures are
  --mask-grow N                 white grows by N pixels (below 0: shrinks)
  --mask-blur X                 a Gaussian of X pixels over the mask, so that edges blend
  --padding-mask-crop N         work on the masked part alone with N pixels around it, at --width
                                and --height (the model's size), and put the result back
  --differential                grays of the mask say when a place begins to change: the darker,
                                the later and the less
  --outpaint N|L,T,R,B          draw N pixels more on all sides, or so many left, top, right, bottom
Models of 9 input channels see the mask; with others the kept part is put back at every step.

Models of 8 input channels (InstructPix2Pix) change the picture as the prompt says.
  --image-guidance-scale X      how strictly to keep to the picture, from 1 (1.5)

High-resolution fix: without --init-image, a second pass begins from the first one's picture.
  --hires-scale X               of its sides; --hires-strength X (0.7), --hires-steps N (--steps)
  --hires-upscaler NAME         latent (bilinear), latent_nearest, or pixel (Lanczos)

Two models, one after the other.
  --refiner DIR|FILE|NAME       takes over after --refiner-start X of the noise levels (0.8)
  --denoising-end X, --denoising-start X, --noisy-latents FILE    the same in two calls: the first
                                with --save-latents, the second from its file, as `latents`
)";

namespace {

bool is_folder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Beginning with the option, whatever the reader says.
template <typename Read>
auto reading(const char* option, Read&& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(error.code(), std::string(option) + " " + error.what());
  }
}

// "64" or "left,top,right,bottom".
Margins parse_margins(const std::string& text) {
  std::vector<int> sides;
  for (const std::string& word : split_commas(text))
    sides.push_back(static_cast<int>(parse_whole("--outpaint", word, 0, 16384)));
  if (sides.size() == 1) return {sides[0], sides[0], sides[0], sides[0]};
  if (sides.size() != 4)
    fail(ErrorCode::invalid_argument, "--outpaint: expected one number or left,top,right,bottom, found \"{}\"",
         printable(text, 40));
  return {sides[0], sides[1], sides[2], sides[3]};
}

}  // namespace

void PictureArguments::add_to(Arguments& a) {
  a.text("--init-image", init_image);
  a.text("--mask", mask);
  a.number("--strength", strength, 0);
  a.whole("--mask-grow", mask_grow, -1000, 1000);
  a.number("--mask-blur", mask_blur, 0);
  a.whole("--padding-mask-crop", padding_mask_crop, 0, 16384);
  a.optional_flag("--differential", differential);
  a.text("--outpaint", outpaint);
  a.number("--image-guidance-scale", image_guidance_scale, 0);
  a.number("--hires-scale", hires_scale, 1);
  a.number("--hires-strength", hires_strength, 0);
  a.whole("--hires-steps", hires_steps, 1, 10000);
  a.text("--hires-upscaler", hires_upscaler);
}

PictureArguments PictureArguments::over(const PictureArguments& other) const {
  PictureArguments out = *this;
  each(
      [](const char*, auto& field, const auto& fallback) {
        if (!field) field = fallback;
      },
      out, other);
  if (init_image && !mask) out.mask.reset();
  return out;
}

HighResFix high_res_fix(const PictureArguments& arguments) {
  HighResFix out;
  const char* alone = arguments.hires_strength   ? "--hires-strength"
                      : arguments.hires_steps    ? "--hires-steps"
                      : arguments.hires_upscaler ? "--hires-upscaler"
                                                 : nullptr;
  if (!arguments.hires_scale && alone)
    fail(ErrorCode::invalid_argument, "{}: expected with --hires-scale, found none", alone);
  out.scale = arguments.hires_scale.value_or(1);
  out.strength = arguments.hires_strength.value_or(out.strength);
  out.steps = static_cast<int>(arguments.hires_steps.value_or(0));
  out.upscaler = arguments.hires_upscaler.value_or("");
  return out;
}

std::vector<InputFiles> find_inputs(const PictureArguments& arguments) {
  if (!arguments.init_image) {
    if (arguments.mask) fail(ErrorCode::invalid_argument, "--mask: expected with --init-image, found none");
    return {InputFiles{}};
  }
  const std::string path = expand_home(*arguments.init_image), mask = expand_home(arguments.mask.value_or(""));
  if (!is_folder(path)) {
    if (!mask.empty() && is_folder(mask))
      fail(ErrorCode::io, "--mask {}: expected a picture, found a folder", printable(mask, 400));
    return {InputFiles{path, mask}};
  }
  std::vector<InputFiles> out;
  const std::vector<std::string> masks =
      !mask.empty() && is_folder(mask) ? pictures_in(mask, "--mask") : std::vector<std::string>();
  for (const std::string& picture : pictures_in(path, "--init-image")) {
    const auto same_stem = [&](const std::string& other) { return fs::path(other).stem() == fs::path(picture).stem(); };
    const auto found = std::find_if(masks.begin(), masks.end(), same_stem);
    if (!masks.empty() && found == masks.end())
      fail(ErrorCode::io, "--mask {}: expected a mask for {}, found none of that name", printable(mask, 400),
           printable(fs::path(picture).filename().string(), 200));
    out.push_back({picture, masks.empty() ? mask : *found});
  }
  return out;
}

PictureSource picture_source(const char* option, const std::string& path) {
  PictureSource out = reading(option, [&] { return PictureSource::file(path); });
  out.read = [read = out.read, option] { return reading(option, read); };
  return out;
}

PictureInputs picture_inputs(const PictureArguments& arguments, const InputFiles& files) {
  PictureInputs out;
  out.strength = arguments.strength;
  out.mask_grow = static_cast<int>(arguments.mask_grow.value_or(0));
  out.mask_blur = arguments.mask_blur.value_or(0);
  if (arguments.padding_mask_crop) out.padding_mask_crop = static_cast<int>(*arguments.padding_mask_crop);
  out.differential = arguments.differential.value_or(false);
  if (arguments.outpaint) out.outpaint = parse_margins(*arguments.outpaint);
  out.image_guidance_scale = arguments.image_guidance_scale.value_or(out.image_guidance_scale);
  if (files.init_image.empty()) return out;
  out.init_image = picture_source("--init-image", files.init_image);
  if (!files.mask.empty())
    out.mask = std::make_shared<const PictureMask>(reading("--mask", [&] { return PictureMask::file(files.mask); }));
  return out;
}

}  // namespace easel::cli
