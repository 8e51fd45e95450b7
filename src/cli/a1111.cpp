// The `parameters` text of the A1111 web UI, which picture viewers and sharing sites read.
#include <algorithm>
#include <cmath>
#include <vector>

#include <easel/version.h>

#include "base/fail.h"
#include "cli/arguments.h"
#include "cli/picture_metadata.h"

namespace easel::cli {

namespace {

struct SamplerName {
  const char* a1111;
  const char* sampler;  // the first with it is what we write
};

constexpr SamplerName kSamplers[] = {
    {"Euler", "euler"},
    {"Euler", "EulerDiscreteScheduler"},
    {"Euler a", "euler_ancestral"},
    {"Euler a", "euler_a"},
    {"Euler a", "EulerAncestralDiscreteScheduler"},
    {"DDIM", "ddim"},
    {"DDIM", "DDIMScheduler"},
    {"DDPM", "ddpm"},
    {"DDPM", "DDPMScheduler"},
    {"PLMS", "plms"},
    {"PLMS", "pndm"},
    {"PLMS", "PNDMScheduler"},
    {"Heun", "heun"},
    {"LMS", "lms"},
    {"DPM2", "dpm_2"},
    {"DPM2 a", "dpm_2_ancestral"},
    {"DPM fast", "dpm_fast"},
    {"DPM adaptive", "dpm_adaptive"},
    {"DPM++ 2S a", "dpmpp_2s_ancestral"},
    {"DPM++ SDE", "dpmpp_sde"},
    {"DPM++ 2M SDE Heun", "dpmpp_2m_sde_heun"},
    {"UniPC", "uni_pc"},
    {"LCM", "lcm"},
    {"DPM++ 2M SDE", "dpmpp_2m_sde"},
    {"DPM++ 2M SDE", "sde_dpm_solver++"},
    {"DPM++ 3M SDE", "dpmpp_3m_sde"},
    {"DPM++ 2M", "dpmpp_2m"},
    {"DPM++ 2M", "dpm_solver++"},
    {"DPM++ 2M", "dpmsolver++"},
    {"DPM++ 2M", "DPMSolverMultistepScheduler"},
};

// What the second pass of the high-resolution fix begins from.
struct UpscalerName {
  const char* a1111;
  const char* upscaler;
};

constexpr UpscalerName kUpscalers[] = {
    {"Latent", "latent"}, {"Latent (nearest-exact)", "latent_nearest"}, {"Lanczos", "pixel"}};

constexpr const char* kSpacings[] = {"Karras", "Exponential", "Beta"};

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string a1111_sampler(const PictureMetadata& m) {
  const std::string name = m.sampler && !m.sampler->empty() ? *m.sampler : m.scheduler_class.value_or("");
  for (const SamplerName& entry : kSamplers)
    if (name == entry.sampler) return entry.a1111;
  return name;
}

// As the web UI does: values with a comma, a colon or a line break stand in quotes.
std::string quoted(const std::string& value) {
  if (value.find_first_of(",:\n\"") == std::string::npos) return value;
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + '"';
}

using Fields = std::vector<std::pair<std::string, std::string>>;

// "Steps: 20, Sampler: Euler a, Note: \"a, b\"" → pairs; nothing if the line has another form.
Fields parse_fields(const std::string& line) {
  Fields out;
  size_t at = 0;
  while (at < line.size()) {
    const size_t colon = line.find(':', at);
    if (colon == std::string::npos) break;
    const std::string key = line.substr(at, colon - at);
    at = std::min(line.find_first_not_of(' ', colon + 1), line.size());
    std::string value;
    if (at < line.size() && line[at] == '"') {
      for (++at; at < line.size() && line[at] != '"'; ++at) {
        if (line[at] == '\\' && at + 1 < line.size()) ++at;
        value += line[at];
      }
      at = std::min(line.find(',', at), line.size());
    } else {
      const size_t comma = std::min(line.find(',', at), line.size());
      value = line.substr(at, comma - at);
      at = comma;
    }
    out.emplace_back(key, value);
    at = std::min(line.find_first_not_of(", ", at), line.size());
  }
  return out;
}

void set_sampler(PictureMetadata& m, std::string name, const std::string& where) {
  for (const char* spacing : kSpacings) {
    const std::string tail = lower(std::string(" ") + spacing);
    if (lower(name).ends_with(tail)) {
      m.scheduler = lower(spacing);
      name.resize(name.size() - tail.size());
    }
  }
  m.sampler = name;
  for (const SamplerName& entry : kSamplers)
    if (lower(name) == lower(entry.a1111)) {
      m.sampler = entry.sampler;
      return;
    }
}

void set_upscaler(PictureMetadata& m, const std::string& name) {
  m.pictures.hires_upscaler = name;
  for (const UpscalerName& entry : kUpscalers)
    if (name == entry.a1111) m.pictures.hires_upscaler = entry.upscaler;
}

void set_field(PictureMetadata& m, const std::string& key, const std::string& value, const std::string& where) {
  const std::string place = where + ", " + key;
  if (key == "Steps") m.steps = parse_whole(place, value, 1, 10000);
  if (key == "Sampler") set_sampler(m, value, where);
  if (key == "Schedule type" && lower(value) != "automatic")
    m.scheduler = lower(value) == "uniform" ? "" : lower(value);
  if (key == "CFG scale") m.guidance_scale = parse_number(place, value, -HUGE_VAL);
  if (key == "Seed") m.seed = parse_seed(place, value);
  if (key == "Clip skip") m.clip_skip = parse_whole(place, value, 1, 1000);
  if (key == "Prompt style") m.prompt_style = value;
  if (key == "Eta" || key == "Eta DDIM") m.eta = parse_number(place, value, 0);
  if (key == "RNG" && (value == "NV" || value == "GPU")) m.sampling.rng = "a1111";
  if (key == "RNG" && value == "CPU") m.sampling.rng = "a1111_cpu";
  if (key == "ENSD") m.sampling.eta_noise_seed_delta = parse_seed(place, value);
  if (key == "Variation seed") m.sampling.variation_seed = parse_seed(place, value);
  if (key == "Variation seed strength") m.sampling.variation_strength = parse_number(place, value, 0);
  if (key == "Denoising strength") m.pictures.strength = parse_number(place, value, 0);
  if (key == "Mask blur") m.pictures.mask_blur = parse_number(place, value, 0);
  if (key == "Hires upscale") m.pictures.hires_scale = parse_number(place, value, 1);
  if (key == "Hires steps") m.pictures.hires_steps = parse_whole(place, value, 0, 10000);
  if (key == "Hires upscaler") set_upscaler(m, value);
  if (key == "Model") m.model = value;
  if (key == "Size") {
    const size_t x = std::min(value.find('x'), value.size());
    m.width = parse_whole(place, value.substr(0, x), 1, INT32_MAX);
    m.height = parse_whole(place, value.substr(std::min(x + 1, value.size())), 1, INT32_MAX);
  }
}

}  // namespace

std::string to_a1111(const PictureMetadata& m) {
  std::string out = m.prompt.value_or("");
  if (m.negative_prompt && !m.negative_prompt->empty()) out += "\nNegative prompt: " + *m.negative_prompt;
  Fields fields;
  if (m.steps) fields.emplace_back("Steps", std::to_string(*m.steps));
  fields.emplace_back("Sampler", a1111_sampler(m));
  if (m.scheduler && !m.scheduler->empty()) {
    std::string spacing = *m.scheduler;
    for (const char* known : kSpacings)
      if (spacing == lower(known)) spacing = known;
    fields.emplace_back("Schedule type", spacing);
  }
  if (m.guidance_scale) fields.emplace_back("CFG scale", fmt::format("{}", *m.guidance_scale));
  // The web UI counts the seed up from picture to picture, and so do its rules here.
  const bool counts = m.sampling.rng && m.sampling.rng->starts_with("a1111") && !m.sampling.variation_strength;
  if (m.seed)
    fields.emplace_back("Seed",
                        std::to_string(*m.seed + (counts ? static_cast<uint64_t>(m.index.value_or(0)) : uint64_t{0})));
  if (m.sampling.rng == "a1111" || m.sampling.rng == "a1111_cpu")
    fields.emplace_back("RNG", m.sampling.rng == "a1111" ? "NV" : "CPU");
  if (m.sampling.eta_noise_seed_delta) fields.emplace_back("ENSD", std::to_string(*m.sampling.eta_noise_seed_delta));
  if (m.sampling.variation_seed) fields.emplace_back("Variation seed", std::to_string(*m.sampling.variation_seed));
  if (m.sampling.variation_strength)
    fields.emplace_back("Variation seed strength", fmt::format("{}", *m.sampling.variation_strength));
  const PictureArguments& p = m.pictures;
  if (p.hires_scale || p.strength)
    fields.emplace_back("Denoising strength",
                        fmt::format("{}", p.hires_scale ? p.hires_strength.value_or(0.7) : p.strength.value_or(0.8)));
  if (p.mask_blur) fields.emplace_back("Mask blur", fmt::format("{}", *p.mask_blur));
  if (p.hires_scale) {
    fields.emplace_back("Hires upscale", fmt::format("{}", *p.hires_scale));
    if (p.hires_steps) fields.emplace_back("Hires steps", std::to_string(*p.hires_steps));
    std::string upscaler = p.hires_upscaler.value_or("latent");
    for (const UpscalerName& entry : kUpscalers)
      if (upscaler == entry.upscaler) upscaler = entry.a1111;
    fields.emplace_back("Hires upscaler", upscaler);
  }
  if (m.width && m.height) fields.emplace_back("Size", fmt::format("{}x{}", *m.width, *m.height));
  if (m.model) fields.emplace_back("Model", *m.model);
  if (m.clip_skip) fields.emplace_back("Clip skip", std::to_string(*m.clip_skip));
  if (m.lora_hashes) fields.emplace_back("Lora hashes", *m.lora_hashes);
  for (auto& control : a1111_controls(m.control)) fields.push_back(std::move(control));
  if (m.prompt_style) fields.emplace_back("Prompt style", *m.prompt_style);
  if (m.eta && *m.eta != 0) fields.emplace_back("Eta", fmt::format("{}", *m.eta));
  fields.emplace_back("Version", "easel " EASEL_VERSION);
  std::string line;
  for (const auto& [key, value] : fields) line += (line.empty() ? "" : ", ") + key + ": " + quoted(value);
  return out + "\n" + line;
}

PictureMetadata from_a1111(const std::string& text, const std::string& where) {
  const size_t last = text.find_last_of('\n');
  const size_t begin = last == std::string::npos ? 0 : last + 1;
  if (!text.substr(begin).starts_with("Steps: "))
    fail(ErrorCode::io, "{}: expected a last line \"Steps: …, Sampler: …\", found \"{}\"", where,
         printable(text.substr(begin), 60));
  PictureMetadata out;
  bool ours = false;
  for (const auto& [key, value] : parse_fields(text.substr(begin))) {
    set_field(out, key, value, where);
    ours |= key == "Version" && value.starts_with("easel");
  }
  if (!ours && !out.prompt_style) out.prompt_style = "a1111";
  // One strength serves both jobs there.
  if (out.pictures.hires_scale) {
    out.pictures.hires_strength = out.pictures.strength;
    out.pictures.strength.reset();
    if (out.pictures.hires_steps == 0) out.pictures.hires_steps.reset();  // as many as the first pass
  }
  // Its default, which it does not write down.
  if (!out.sampling.rng && (out.sampling.variation_strength || out.sampling.eta_noise_seed_delta))
    out.sampling.rng = "a1111";
  const std::string prompts = begin == 0 ? "" : text.substr(0, begin - 1);
  const std::string mark = "Negative prompt: ";
  size_t negative = prompts.starts_with(mark) ? 0 : prompts.find("\n" + mark);
  if (negative == std::string::npos) {
    out.prompt = prompts;
    out.negative_prompt = "";
  } else {
    out.prompt = prompts.substr(0, negative);
    out.negative_prompt = prompts.substr(negative + (negative == 0 && prompts.starts_with(mark) ? 0 : 1) + mark.size());
  }
  return out;
}

}  // namespace easel::cli
