// The options of networks that steer by pictures, shared by generate and the texts in pictures.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <easel/control.h>

#include "cli/arguments.h"

namespace easel::cli {

/// `easel generate --help control`.
extern const char* const kControlHelp;

/// As given, each option as often as it was; what is not stays empty. Every field has the name of its option.
struct ControlArguments {
  std::vector<std::string> control_net, control_image, control_preprocess, control_block_scales;
  std::vector<double> control_scale, control_start, control_end;
  std::optional<bool> control_guess_mode;
  std::vector<std::string> control_image_sha256;  ///< of a picture's file alone: of the pictures it went by

  /// Calls visit(name, field) for every field.
  template <typename Arguments, typename Visit>
  static void each(Visit&& visit, Arguments& all) {
    visit("control_net", all.control_net);
    visit("control_image", all.control_image);
    visit("control_image_sha256", all.control_image_sha256);
    visit("control_preprocess", all.control_preprocess);
    visit("control_scale", all.control_scale);
    visit("control_block_scales", all.control_block_scales);
    visit("control_start", all.control_start);
    visit("control_end", all.control_end);
    visit("control_guess_mode", all.control_guess_mode);
  }

  void add_to(Arguments& arguments);
  /// These, and those of `other`, a picture's, where these are empty; where these name networks, only these. Throws io,
  /// naming `where`, if a control picture of the other's is not there any more, and warns if it is another one.
  ControlArguments over(const ControlArguments& other, const std::string& where,
                        const std::function<void(const std::string&)>& warn) const;
  /// One for each network, in order. What is given once counts for all of them. Networks are looked up as models are,
  /// and what was found replaces their names here. Throws invalid_argument or io, naming the option.
  std::vector<ControlNetInput> inputs(const std::optional<std::string>& model_dir);
  /// The same with portable paths, and with the hashes of the pictures.
  ControlArguments described() const;
};

/// 'ControlNet 0: "Module: canny, Model: …"': what the A1111 web UI's extension writes of each network.
std::vector<std::pair<std::string, std::string>> a1111_controls(const ControlArguments& arguments);

}  // namespace easel::cli
