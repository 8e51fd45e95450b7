#include "cli/sampling_options.h"

#include <algorithm>

#include "base/fail.h"

namespace easel::cli {

namespace {

struct Adder {
  Arguments& arguments;

  static std::string option(const char* name) {
    std::string out = std::string("--") + name;
    std::replace(out.begin(), out.end(), '_', '-');
    return out;
  }
  void operator()(const char* name, std::optional<std::string>& field) const { arguments.text(option(name), field); }
  void operator()(const char* name, std::optional<double>& field) const { arguments.number(option(name), field, 0); }
  void operator()(const char* name, std::optional<int64_t>& field) const {
    arguments.whole(option(name), field, 0, 10000);
  }
  void operator()(const char* name, std::optional<uint64_t>& field) const { arguments.seed(option(name), field); }
};

// "14.6, 7.1, 0"
std::vector<double> parse_sigmas(const std::string& text) {
  std::vector<double> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    std::string word = text.substr(begin, comma - begin);
    word.erase(0, std::min(word.find_first_not_of(' '), word.size()));
    word.erase(word.find_last_not_of(' ') + 1);
    out.push_back(parse_number("--sigmas", word, 0));
    begin = comma + 1;
  }
  return out;
}

}  // namespace

void SamplingArguments::add_to(Arguments& arguments) { each(Adder{arguments}, *this); }

SamplingArguments SamplingArguments::over(const SamplingArguments& other) const {
  SamplingArguments out = *this;
  each(
      [](const char*, auto& field, const auto& fallback) {
        if (!field) field = fallback;
      },
      out, other);
  return out;
}

void SamplingArguments::apply(TextToImageRequest& request) const {
  SamplingOptions& s = request.sampling;
  if (sigmas) {
    s.sigmas = parse_sigmas(*sigmas);
    request.steps = static_cast<int>(std::clamp<size_t>(s.sigmas.size() - 1, 1, 10000));
  }
  s.denoise = denoise.value_or(s.denoise);
  s.start_step = static_cast<int>(start_step.value_or(s.start_step));
  if (end_step) s.end_step = static_cast<int>(*end_step);
  s.denoising_start = denoising_start;
  s.denoising_end = denoising_end;
  s.s_churn = s_churn.value_or(s.s_churn);
  s.s_tmin = s_tmin.value_or(s.s_tmin);
  s.s_tmax = s_tmax.value_or(s.s_tmax);
  s.s_noise = s_noise.value_or(s.s_noise);
  s.rho = rho;
  s.rtol = rtol.value_or(s.rtol);
  s.atol = atol.value_or(s.atol);
  GuidanceOptions& g = request.guidance;
  g.rescale = guidance_rescale.value_or(g.rescale);
  g.start = guidance_start.value_or(g.start);
  g.end = guidance_end.value_or(g.end);
  g.mimic_scale = dynamic_thresholding;
  g.threshold_quantile = threshold_quantile.value_or(g.threshold_quantile);
  NoiseRules& n = request.noise;
  n.rng = rng.value_or("");
  n.eta_noise_seed_delta = eta_noise_seed_delta.value_or(0);
  n.variation_seed = variation_seed.value_or(0);
  n.variation_strength = variation_strength.value_or(0);
}

}  // namespace easel::cli
