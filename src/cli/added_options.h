// What SDXL is told beside the prompt, shared by generate, inspect and the texts in pictures.
#pragma once

#include <optional>
#include <string>

#include <easel/pipeline.h>

#include "cli/arguments.h"

namespace easel::cli {

/// As given; what is not stays empty. Every field has the name of its option, "original_size" for --original-size.
struct AddedArguments {
  std::optional<std::string> original_size, crops_coords_top_left, target_size;
  std::optional<std::string> negative_original_size, negative_crops_coords_top_left, negative_target_size;
  std::optional<double> aesthetic_score, negative_aesthetic_score;

  /// Calls visit(name, field...) for every field, with the fields of all the arguments under one name.
  template <typename Visit, typename... Arguments>
  static void each(Visit&& visit, Arguments&... all) {
    visit("original_size", all.original_size...);
    visit("crops_coords_top_left", all.crops_coords_top_left...);
    visit("target_size", all.target_size...);
    visit("negative_original_size", all.negative_original_size...);
    visit("negative_crops_coords_top_left", all.negative_crops_coords_top_left...);
    visit("negative_target_size", all.negative_target_size...);
    visit("aesthetic_score", all.aesthetic_score...);
    visit("negative_aesthetic_score", all.negative_aesthetic_score...);
  }

  void add_to(Arguments& arguments);
  /// These, and those of `other` where these are empty.
  AddedArguments over(const AddedArguments& other) const;
  /// Throws invalid_argument, naming the option, for texts that are no "WIDTHxHEIGHT" or "TOP,LEFT".
  void apply(TextToImageRequest& request) const;
};

}  // namespace easel::cli
