#include "sampling/schedule_plot.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/fail.h"

namespace easel::sampling {

namespace {

constexpr double kWidth = 720, kLeft = 64, kRight = 20, kPanel = 240, kGap = 56, kTop = 48;

// One curve over the steps, in a box of its own.
struct Panel {
  double top;
  std::string label;
  bool logarithmic = false;
  std::vector<double> values;  // one per step, from step 0
};

double transformed(const Panel& panel, double value) { return panel.logarithmic ? std::log10(value) : value; }

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (static_cast<unsigned char>(c) >= 0x20)
      out += c;
  }
  return out;
}

// Round numbers between low and high: 1, 2 or 5 times a power of ten, about five of them; decades if logarithmic.
std::vector<double> ticks(const Panel& panel, double low, double high) {
  std::vector<double> out;
  if (panel.logarithmic) {
    for (double e = std::ceil(low); e <= high; ++e) out.push_back(std::pow(10, e));
    return out;
  }
  const double rough = (high - low) / 5, decade = std::pow(10, std::floor(std::log10(rough)));
  const double step = decade * (rough / decade > 5 ? 10 : rough / decade > 2 ? 5 : rough / decade > 1 ? 2 : 1);
  for (double value = std::ceil(low / step) * step; value <= high + step * 1e-9; value += step) out.push_back(value);
  return out;
}

void draw(const Panel& panel, size_t steps, std::string& out) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const double value : panel.values) {
    low = std::min(low, transformed(panel, value));
    high = std::max(high, transformed(panel, value));
  }
  if (!panel.logarithmic) low = std::min(low, 0.0);
  if (!(high - low > 1e-9)) high = low + 1;
  const double inner = kWidth - kLeft - kRight, right = kWidth - kRight, bottom = panel.top + kPanel;
  const auto x = [&](size_t i) {
    return kLeft + inner * static_cast<double>(i) / static_cast<double>(std::max<size_t>(steps, 1));
  };
  const auto y = [&](double value) { return bottom - kPanel * (transformed(panel, value) - low) / (high - low); };
  out += fmt::format("<text x=\"{:.0f}\" y=\"{:.0f}\">{}</text>\n", kLeft, panel.top - 8, panel.label);
  for (const double tick : ticks(panel, low, high))
    out += fmt::format(
        "<line class=\"grid\" x1=\"{:.0f}\" y1=\"{:.1f}\" x2=\"{:.0f}\" y2=\"{:.1f}\"/>"
        "<text class=\"tick\" text-anchor=\"end\" x=\"{:.0f}\" y=\"{:.1f}\">{:.6g}</text>\n",
        kLeft, y(tick), right, y(tick), kLeft - 6, y(tick) + 4, tick);
  const size_t every = std::max<size_t>(1, (steps + 9) / 10);
  for (size_t i = 0; i <= steps; i += every)
    out += fmt::format("<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.0f}\">{}</text>\n", x(i),
                       bottom + 16, i);
  out += fmt::format("<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\"/>\n<polyline points=\"", kLeft,
                     panel.top, inner, kPanel);
  for (size_t i = 0; i < panel.values.size(); ++i) out += fmt::format("{:.2f},{:.2f} ", x(i), y(panel.values[i]));
  out += "\"/>\n";
  if (panel.values.size() <= 200)
    for (size_t i = 0; i < panel.values.size(); ++i)
      out += fmt::format("<circle cx=\"{:.2f}\" cy=\"{:.2f}\" r=\"2.5\"/>\n", x(i), y(panel.values[i]));
}

}  // namespace

std::string schedule_table(const std::vector<NoiseLevel>& levels) {
  std::string out = "  step    timestep         sigma  ln(sigma)\n";
  for (size_t i = 0; i < levels.size(); ++i) {
    const auto& [timestep, sigma] = levels[i];
    const std::string t = timestep ? fmt::format("{:.3f}", *timestep) : "end";
    const std::string logarithm = sigma > 0 ? fmt::format("{:.4f}", std::log(sigma)) : "";
    std::string line = fmt::format("{:6}  {:>10}  {:>12.6f}  {:>9}", i, t, sigma, logarithm);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string schedule_json(const std::vector<NoiseLevel>& levels) {
  nlohmann::ordered_json out = {{"timesteps", nlohmann::ordered_json::array()},
                                {"sigmas", nlohmann::ordered_json::array()}};
  for (const auto& [timestep, sigma] : levels) {
    if (timestep) out["timesteps"].push_back(*timestep);
    out["sigmas"].push_back(sigma);
  }
  return out.dump();
}

std::string schedule_svg(const std::vector<NoiseLevel>& levels, const std::string& title) {
  Panel sigmas{kTop + 20, "sigma", false, {}}, timesteps{kTop + 20 + kPanel + kGap, "timestep", false, {}};
  double low = HUGE_VAL, high = 0;
  for (const auto& [timestep, sigma] : levels) {
    if (timestep) timesteps.values.push_back(*timestep);
    if (!(sigma > 0) || !std::isfinite(sigma)) continue;
    low = std::min(low, sigma);
    high = std::max(high, sigma);
  }
  sigmas.logarithmic = high > 30 * low;
  if (sigmas.logarithmic) sigmas.label = "sigma (logarithmic; a last level of 0 is left out)";
  for (const auto& [timestep, sigma] : levels)
    if (std::isfinite(sigma) && (sigma > 0 || !sigmas.logarithmic)) sigmas.values.push_back(sigma);
  const size_t steps = levels.empty() ? 0 : levels.size() - 1;
  const double height = timesteps.top + kPanel + 40;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\">\n"
      "<style>text{{font:13px sans-serif;fill:#222}}.tick{{font-size:11px;fill:#666}}.grid{{stroke:#ddd}}"
      "rect{{fill:none;stroke:#888}}polyline{{fill:none;stroke:#1f6feb;stroke-width:1.5}}circle{{fill:#1f6feb}}</"
      "style>\n"
      "<rect x=\"0\" y=\"0\" width=\"{0:.0f}\" height=\"{1:.0f}\" style=\"fill:#fff;stroke:none\"/>\n"
      "<text x=\"{2:.0f}\" y=\"28\" style=\"font-size:16px\">{3}</text>\n",
      kWidth, height, kLeft, escaped(title));
  draw(sigmas, steps, out);
  draw(timesteps, steps, out);
  return out + "</svg>\n";
}

}  // namespace easel::sampling
