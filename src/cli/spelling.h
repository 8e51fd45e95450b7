// Names that a misspelt one may have meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace easel::cli {

/// The candidate closest to `word`, or "" where none is close.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "; did you mean X?" or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace easel::cli
