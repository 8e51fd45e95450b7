// easel upscale: pictures → the same pictures with more pixels.
#include <easel/upscaler.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/interrupts.h"
#include "cli/output_files.h"
#include "cli/picture_files.h"
#include "cli/progress_bar.h"
#include "device/memory.h"
#include "io/image.h"
#include "io/mapped_file.h"
#include "io/png.h"
#include "io/resample.h"
#include "text/unicode.h"

namespace easel::cli {

namespace {

constexpr const char* kHelp =
    R"(Usage: easel upscale INPUT... --model FILE [options]
Enlarges pictures with an upscaling network and prints the paths of the results. INPUT: pictures, or
folders of them.

  --model FILE       ESRGAN or Real-ESRGAN (RRDBNet: x4plus, x2plus, anime 6B, old and new names) or
                     a compact one (general-x4v3, animevideo), .pth or .safetensors; which it is
                     and how many times it enlarges is read off its tensors
  --scale X          another factor than the network's own: its result is resized (Lanczos)
  --tile N           compute squares of N pixels of the input one by one; 0: never (default: 512
                     where the picture has more than 768x768 pixels), which bounds memory
  --tile-overlap N   pixels around each square that are computed with it and dropped (default: as
                     far as the network looks, at most 32); exact where it looks no further
  --dtype TYPE       fp32, bf16 or fp16; default: bf16 where the processor has its products
  --threads N        default: one per physical core
  --out-dir DIR      for NAME_x4.png and so on (outputs); nothing is overwritten
  --json             one JSON object on standard output
  --quiet            no progress

INPUT may be PNG, JPEG or WebP. A PNG's alpha goes through the network as a picture of its own; its
texts are kept.
)";

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Options {
  std::vector<std::string> inputs;
  std::optional<std::string> model, out_dir, dtype, device;
  std::optional<double> scale;
  std::optional<int64_t> tile, overlap, threads;
  bool json = false, quiet = false;
};

UpscalerOptions load_options(const Options& options, const CancelToken& cancel) {
  UpscalerOptions out;
  if (options.dtype) {
    try {
      out.precision = parse_precision(*options.dtype);
    } catch (const Error& error) {
      throw Error(error.code(), std::string("--dtype: ") + error.what());
    }
  }
  if (options.device && *options.device != "cpu")
    fail(ErrorCode::invalid_argument, "--device: expected cpu, the only device of this version, found \"{}\"",
         printable(*options.device, 40));
  out.threads = static_cast<int>(options.threads.value_or(0));
  out.cancel = cancel;
  return out;
}

struct Source {
  io::Image image;
  io::PngText text;
};

// The way up that it is meant, with the alpha and the texts of a PNG.
Source read_source(const std::string& path) {
  const auto file = io::MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.empty() || bytes[0] != std::byte{0x89}) return {io::decode_image(bytes, path), {}};
  io::Png png = io::decode_png(bytes, path, /*keep_alpha=*/true);
  return {io::oriented(std::move(png.image), png.orientation), std::move(png.text)};
}

// A side at another factor, at least one pixel; refused by resize() where it is too long.
int64_t scaled(int64_t side, double factor) {
  const double exact = std::nearbyint(static_cast<double>(side) * std::min(factor, 1e6));
  return std::max<int64_t>(1, static_cast<int64_t>(exact));
}

}  // namespace

int upscale(std::span<const std::string> args) {
  Options options;
  Arguments arguments("upscale", kHelp);
  arguments.positionals("INPUT", options.inputs);
  arguments.text("--model", options.model);
  arguments.number("--scale", options.scale, 0.1);
  arguments.whole("--tile", options.tile, 0, 32768);
  arguments.whole("--tile-overlap", options.overlap, 0, 32768);
  arguments.text("--dtype", options.dtype);
  arguments.text("--device", options.device);
  arguments.whole("--threads", options.threads, 1, 1024);
  arguments.text("--out-dir", options.out_dir);
  arguments.flag("--json", options.json);
  arguments.flag("--quiet", options.quiet);
  if (!arguments.parse(args)) return 0;
  if (options.inputs.empty())
    fail(ErrorCode::invalid_argument, "INPUT: expected at least one picture, found none (see easel upscale --help)");
  if (!options.model)
    fail(ErrorCode::invalid_argument, "--model: expected the file of an upscaling network, found none");

  const Clock::time_point start = Clock::now();
  const CancelToken cancel = cancel_on_interrupt();
  const std::vector<std::string> pictures = find_pictures(options.inputs);
  OutputFolder folder(options.out_dir.value_or("outputs"));
  ProgressBar bar(!options.quiet);
  bar.phase("loading the model");
  Upscaler upscaler = Upscaler::load(*options.model, load_options(options, cancel));
  const Upscaler::Info& info = upscaler.info();
  const double factor = options.scale.value_or(static_cast<double>(info.scale));
  UpscaleTiling tiling;
  tiling.tile = options.tile.value_or(UpscaleTiling::kAutomatic);
  tiling.overlap = options.overlap.value_or(UpscaleTiling::kAutomatic);
  folder.create();

  Json images = Json::array();
  std::vector<double> seconds;
  for (size_t i = 0; i < pictures.size(); ++i) {
    const std::string& input = pictures[i];
    Source source = read_source(input);
    const int64_t width = source.image.width, height = source.image.height;
    if (source.image.width * source.image.height > io::kMaxPngPixels / (info.scale * info.scale))
      fail(ErrorCode::invalid_argument,
           "INPUT {}: expected a picture of at most {} pixels, {} times as many being "
           "what a PNG may have here, found {}×{}",
           printable(input, 400), io::kMaxPngPixels / (info.scale * info.scale), info.scale * info.scale,
           source.image.width, source.image.height);
    const std::string label = pictures.size() > 1 ? fmt::format("picture {}/{}", i + 1, pictures.size()) : "";
    bar.phase(label.empty() ? "upscaling" : label);
    const Clock::time_point began = Clock::now();
    Clock::time_point last = began;
    int tiles = 1;
    Pixels result = upscaler.upscale(
        {source.image.width, source.image.height, source.image.channels, std::move(source.image.pixels)}, tiling,
        [&](const UpscaleProgress& progress) {
          tiles = progress.total;
          bar.steps(label, {progress.done, progress.total, seconds_since(last)});
          last = Clock::now();
        });
    seconds.push_back(seconds_since(began));
    io::Image image{result.width, result.height, result.channels, std::move(result.samples)};
    if (factor != static_cast<double>(info.scale))
      image = io::resize(image, scaled(width, factor), scaled(height, factor), io::Resample::lanczos);
    const std::string path = write_beside(folder.path(), input, fmt::format("x{:g}", factor), image, source.text);
    bar.clear();
    if (!options.json) {
      std::puts(path.c_str());
      std::fflush(stdout);
    }
    images.push_back({{"file", path},
                      {"input", text::utf8_lossy(input)},
                      {"width", image.width},
                      {"height", image.height},
                      {"tiles", tiles}});
  }
  if (!options.json) return 0;
  const Json out = {{"images", images},
                    {"model",
                     {{"file", text::utf8_lossy(info.path)},
                      {"architecture", info.architecture},
                      {"scale", info.scale},
                      {"parameters", info.parameters},
                      {"dtype", to_string(info.precision)}}},
                    {"seconds", {{"load", info.load_seconds}, {"upscale", seconds}, {"total", seconds_since(start)}}},
                    {"peak_memory_bytes", device::peak_resident_memory()},
                    {"device", info.device},
                    {"threads", info.threads}};
  std::puts(out.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace easel::cli
