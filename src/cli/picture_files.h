// Pictures that a command takes and the ones it makes of them.
#pragma once

#include <string>
#include <vector>

#include "io/png.h"

namespace easel::cli {

/// The pictures in a folder by their endings (.png, .jpg, .jpeg, .webp, in any case), sorted by name. Throws io,
/// beginning with `option`, where there are none.
std::vector<std::string> pictures_in(const std::string& folder, const char* option);

/// Pictures as named; of folders, those inside, sorted by name. Throws io for a path where nothing is and for a folder
/// without pictures.
std::vector<std::string> find_pictures(const std::vector<std::string>& inputs);

/// Writes {folder}/{stem of input}_{suffix}.png, or with a number behind it where that is taken, and returns the path.
/// Nothing is overwritten. Throws io.
std::string write_beside(const std::string& folder, const std::string& input, const std::string& suffix,
                         const io::Image& image, const io::PngText& text);

}  // namespace easel::cli
