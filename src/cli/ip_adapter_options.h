// --ip-adapter and what goes with it, and what a picture's file says about them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <easel/ip_adapter.h>

#include "cli/arguments.h"

namespace easel::cli {

/// `easel generate --help ip-adapter`.
extern const char* const kIpAdapterHelp;

/// As given, each option as often as it was; see kIpAdapterHelp for what belongs to what.
struct IpAdapterArguments {
  std::vector<std::string> adapters;  ///< FILE[:SCALE]
  std::vector<std::string> images;    ///< FILE[,FILE…]
  std::vector<std::string> image_encoders, blocks, starts, ends;
  /// Of the files above, in the picture's text only: the first twelve digits of SHA-256, adapters and then pictures.
  std::vector<std::string> hashes;

  /// Calls visit(key, field...) for every field, with the fields of all the arguments under one key of the text.
  template <typename Visit, typename... Arguments>
  static void each(Visit&& visit, Arguments&... all) {
    visit("ip_adapters", all.adapters...);
    visit("ip_adapter_images", all.images...);
    visit("image_encoders", all.image_encoders...);
    visit("ip_adapter_blocks", all.blocks...);
    visit("ip_adapter_start", all.starts...);
    visit("ip_adapter_end", all.ends...);
    visit("ip_adapter_hashes", all.hashes...);
  }

  void add_to(Arguments& arguments);
  /// These, and those of a picture's text where these are empty; of adapters that are others, nothing.
  IpAdapterArguments over(const IpAdapterArguments& picture) const;
  /// The adapters of a request. Throws invalid_argument or io, naming the option.
  std::vector<IpAdapter> ip_adapters() const;
  /// The same for a picture's text: portable paths, scales written out, and hashes of all files. Throws io.
  IpAdapterArguments portable() const;
  /// For arguments that a picture told: one line to `warn` for each file that is not what it was. Throws io for one
  /// that is not there, beginning with `where`.
  void check_hashes(const std::string& where, const std::function<void(const std::string&)>& warn) const;
};

}  // namespace easel::cli
