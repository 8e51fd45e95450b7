// The options of runs that begin from a picture, shared by generate and the texts in pictures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <easel/pipeline.h>

#include "cli/arguments.h"

namespace easel::cli {

/// `easel generate --help pictures`.
extern const char* const kPicturesHelp;

/// As given; what is not stays empty. Every field has the name of its option, "mask_blur" for --mask-blur.
struct PictureArguments {
  std::optional<std::string> init_image, mask, outpaint;
  std::optional<double> strength, mask_blur, image_guidance_scale;
  std::optional<int64_t> mask_grow, padding_mask_crop;
  std::optional<bool> differential;
  std::optional<double> hires_scale, hires_strength;
  std::optional<int64_t> hires_steps;
  std::optional<std::string> hires_upscaler;

  /// Calls visit(name, field...) for every field, with the fields of all the arguments under one name.
  template <typename Visit, typename... Arguments>
  static void each(Visit&& visit, Arguments&... all) {
    visit("init_image", all.init_image...);
    visit("mask", all.mask...);
    visit("strength", all.strength...);
    visit("mask_grow", all.mask_grow...);
    visit("mask_blur", all.mask_blur...);
    visit("padding_mask_crop", all.padding_mask_crop...);
    visit("differential", all.differential...);
    visit("outpaint", all.outpaint...);
    visit("image_guidance_scale", all.image_guidance_scale...);
    visit("hires_scale", all.hires_scale...);
    visit("hires_strength", all.hires_strength...);
    visit("hires_steps", all.hires_steps...);
    visit("hires_upscaler", all.hires_upscaler...);
  }

  void add_to(Arguments& arguments);
  /// These, and those of `other` where these are empty. What goes with a picture is left out where the picture is
  /// another one.
  PictureArguments over(const PictureArguments& other) const;
};

/// The second pass. Throws invalid_argument for its options without a scale.
HighResFix high_res_fix(const PictureArguments& arguments);

/// The files that a request begins from; "" for none.
struct InputFiles {
  std::string init_image, mask;
};

/// The pictures that --init-image and --mask name, each with its mask: one, or those of a folder in the order of their
/// names (.png, .jpg, .jpeg, .webp), whose masks are one file for all or files of the same stem in another folder.
/// One entry without files where no picture is asked for. Throws io or invalid_argument, naming the option.
std::vector<InputFiles> find_inputs(const PictureArguments& arguments);

/// The picture at `path`, not read yet. Errors, also of reading it later, begin with `option`, which is kept as it is.
PictureSource picture_source(const char* option, const std::string& path);

/// The inputs of a request for these files. The picture itself is not read yet, its mask is.
/// Throws io or invalid_argument, naming the option.
PictureInputs picture_inputs(const PictureArguments& arguments, const InputFiles& files);

}  // namespace easel::cli
