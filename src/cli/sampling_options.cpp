#include "cli/sampling_options.h"

#include <algorithm>

#include "base/fail.h"
#include "cli/options.h"

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

// "a, b" → {"a", "b"}
std::vector<std::string> parse_list(const std::string& text) {
  std::vector<std::string> out = split_commas(text);
  for (std::string& word : out) {
    word.erase(0, std::min(word.find_first_not_of(' '), word.size()));
    word.erase(word.find_last_not_of(' ') + 1);
  }
  return out;
}

// "14.6, 7.1, 0"
std::vector<double> parse_sigmas(const std::string& text) {
  std::vector<double> out;
  for (const std::string& word : parse_list(text)) out.push_back(parse_number("--sigmas", word, 0));
  return out;
}

// "b1=1.3, s2=0.4", what is not named having its default; "default" for all of them.
FreeU parse_freeu(const std::string& text) {
  FreeU out;
  if (text == "default") return out;
  const std::pair<const char*, double FreeU::*> factors[] = {
      {"b1", &FreeU::b1}, {"b2", &FreeU::b2}, {"s1", &FreeU::s1}, {"s2", &FreeU::s2}};
  for (const std::string& word : parse_list(text)) {
    const size_t equals = word.find('=');
    const auto* factor = std::find_if(std::begin(factors), std::end(factors),
                                      [&](const auto& known) { return word.substr(0, equals) == known.first; });
    if (factor == std::end(factors) || equals == std::string::npos)
      fail(ErrorCode::invalid_argument, "--freeu: expected default, or b1=, b2=, s1=, s2= with numbers, found \"{}\"",
           printable(word, 40));
    out.*factor->second = parse_number("--freeu " + std::string(factor->first), word.substr(equals + 1), -1000);
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
  g.middle_guidance_scale = middle_guidance_scale;
  g.middle_prompt = middle_prompt;
  if (middle_prompt) check_utf8("--middle-prompt", *middle_prompt);
  g.pag_scale = pag_scale.value_or(g.pag_scale);
  g.pag_adaptive_scale = pag_adaptive_scale.value_or(g.pag_adaptive_scale);
  if (pag_applied_layers) {
    check_utf8("--pag-applied-layers", *pag_applied_layers);
    g.pag_applied_layers = parse_list(*pag_applied_layers);
  }
  if (freeu) request.freeu = parse_freeu(*freeu);
  NoiseRules& n = request.noise;
  n.rng = rng.value_or("");
  n.eta_noise_seed_delta = eta_noise_seed_delta.value_or(0);
  n.variation_seed = variation_seed.value_or(0);
  n.variation_strength = variation_strength.value_or(0);
}

}  // namespace easel::cli
