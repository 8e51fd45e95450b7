// A schedule for people to look at.
#pragma once

#include <string>
#include <vector>

#include "sampling/sampler.h"

namespace easel::sampling {

/// A table: step, timestep, sigma, and ln σ where it is finite.
std::string schedule_table(const std::vector<NoiseLevel>& levels);
/// {"timesteps": […], "sigmas": […, last]}
std::string schedule_json(const std::vector<NoiseLevel>& levels);
/// An SVG 1.1 picture: above, the noise levels over the steps (logarithmic where they span more than a factor of 30);
/// below, the timesteps. `title` is plain text.
std::string schedule_svg(const std::vector<NoiseLevel>& levels, const std::string& title);

}  // namespace easel::sampling
