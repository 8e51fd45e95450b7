// Names as people spell them, and the known names near an unknown one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace easel::sampling {

/// Lower case, with "_" for " " and "-": "DPM++ 2M" and "dpm++_2m" are the same.
std::string normalized(std::string_view name);

/// "; did you mean A, B?" with at most three names near `wanted` (which is normalized), else "; known: A, B, …".
std::string near_names(const std::string& wanted, const std::vector<std::string>& names);

}  // namespace easel::sampling
