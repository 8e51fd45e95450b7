// easel preprocess: pictures → what control networks are shown.
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/output_files.h"
#include "cli/picture_files.h"
#include "io/edges.h"
#include "io/image.h"
#include "text/unicode.h"

namespace easel::cli {

namespace {

constexpr const char* kHelp =
    R"(Usage: easel preprocess canny|lineart INPUT... [options]
Makes the pictures that control networks take from ordinary ones and prints their paths. INPUT:
pictures, or folders of them.

canny: edges white on black, to the bit as OpenCV's Canny with its aperture of 3
  --low-threshold X         of the gradient; weaker edges never count (100)
  --high-threshold X        stronger edges always count, others where they touch one that does (200)
  --l2-gradient             Euclidean size of the gradient instead of |dx| + |dy|
lineart: strokes white on black, by how much darker they are than their surroundings
  --sigma X                 of the blur that gives the surroundings, in pixels (6)
  --intensity-threshold X   lighter strokes do not set the scale (8)

  --out-dir DIR             for NAME_canny.png and so on (outputs); nothing is overwritten
  --json                    one JSON object on standard output
)";

}  // namespace

int preprocess(std::span<const std::string> args) {
  std::optional<std::string> name, out_dir;
  std::optional<double> low, high, sigma, intensity;
  std::vector<std::string> inputs;
  bool l2 = false, json = false;
  Arguments arguments("preprocess", kHelp);
  arguments.positional("NAME", name);
  arguments.positionals("INPUT", inputs);
  arguments.number("--low-threshold", low, 0);
  arguments.number("--high-threshold", high, 0);
  arguments.flag("--l2-gradient", l2);
  arguments.number("--sigma", sigma, 0.1);
  arguments.number("--intensity-threshold", intensity, 0);
  arguments.text("--out-dir", out_dir);
  arguments.flag("--json", json);
  if (!arguments.parse(args)) return 0;
  const bool canny = name == "canny";
  if (!canny && name != "lineart")
    fail(ErrorCode::invalid_argument, "expected canny or lineart, found {} (see easel preprocess --help)",
         name ? fmt::format("\"{}\"", printable(*name, 40)) : "neither");
  if (!canny && (low || high || l2))
    fail(ErrorCode::invalid_argument, "{}: expected with canny, found lineart",
         low    ? "--low-threshold"
         : high ? "--high-threshold"
                : "--l2-gradient");
  if (canny && (sigma || intensity))
    fail(ErrorCode::invalid_argument, "{}: expected with lineart, found canny",
         sigma ? "--sigma" : "--intensity-threshold");
  if (inputs.empty())
    fail(ErrorCode::invalid_argument, "INPUT: expected at least one picture, found none (see easel preprocess --help)");

  const auto start = std::chrono::steady_clock::now();
  const io::CannyOptions edges{low.value_or(100), high.value_or(200), l2};
  const io::LineartOptions lines{sigma.value_or(6), intensity.value_or(8)};
  const std::vector<std::string> pictures = find_pictures(inputs);
  OutputFolder folder(out_dir.value_or("outputs"));
  folder.create();
  nlohmann::ordered_json images = nlohmann::ordered_json::array();
  for (const std::string& input : pictures) {
    const io::Image source = io::read_image(input);
    const io::Image made = canny ? io::canny(source, edges) : io::lineart(source, lines);
    const std::string path = write_beside(folder.path(), input, *name, made, {});
    images.push_back(
        {{"file", path}, {"input", text::utf8_lossy(input)}, {"width", made.width}, {"height", made.height}});
    if (json) continue;
    std::puts(path.c_str());
    std::fflush(stdout);
  }
  if (!json) return 0;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  const nlohmann::ordered_json out = {{"images", images}, {"seconds", {{"total", elapsed.count()}}}};
  std::puts(out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace easel::cli
