// easel generate: prompts → pictures.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "cli/commands.h"
#include "cli/interrupts.h"
#include "cli/job.h"
#include "cli/lora_options.h"
#include "cli/output_files.h"
#include "cli/progress_bar.h"
#include "device/memory.h"
#include "io/safetensors.h"

namespace easel::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void add(Timings& sum, const Timings& part) {
  sum.compile += part.compile;
  sum.lora += part.lora;
  sum.text_encode += part.text_encode;
  sum.steps.insert(sum.steps.end(), part.steps.begin(), part.steps.end());
  sum.decode.insert(sum.decode.end(), part.decode.begin(), part.decode.end());
}

// All pictures in one, row by row, about as wide as high.
io::Image make_grid(const std::vector<io::Image>& pictures) {
  const auto count = static_cast<int64_t>(pictures.size());
  const auto columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
  const int64_t rows = (count + columns - 1) / columns;
  const int64_t width = pictures.front().width, height = pictures.front().height;
  io::Image grid;
  grid.width = columns * width;
  grid.height = rows * height;
  if (grid.width > io::kMaxPngSide || grid.height > io::kMaxPngSide || grid.width * grid.height > io::kMaxPngPixels)
    fail(ErrorCode::invalid_argument, "--save-grid: {} pictures of {}x{} make no PNG of at most {} pixels", count,
         width, height, io::kMaxPngPixels);
  grid.pixels.assign(static_cast<size_t>(grid.width * grid.height * 3), 255);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t y = 0; y < height; ++y) {
      const uint8_t* row = pictures[static_cast<size_t>(i)].pixels.data() + y * width * 3;
      std::copy_n(row, width * 3,
                  grid.pixels.data() + ((i / columns * height + y) * grid.width + i % columns * width) * 3);
    }
  return grid;
}

class Generation {
 public:
  Generation(const GenerateOptions& options, CancelToken cancel)
      : options_(options), bar_(!options.quiet), cancel_(std::move(cancel)) {}

  void run() {
    const Clock::time_point start = Clock::now();
    Job job = plan_job(options_, [this](const std::string& message) { warn(message); });
    OutputFolder folder(options_.out_dir.value_or("outputs"));
    if (options_.trace) check_writable("--trace", *options_.trace);
    job.load.cancel = cancel_;
    job.load.warn = [this](const std::string& message) { warn(message); };

    bar_.phase("loading the model");
    TextToImagePipeline pipeline = TextToImagePipeline::load(job.model.path, job.load);
    for (const TextToImageRequest& request : job.requests) pipeline.validate(request);
    folder.create();
    if (job.random_seed && !options_.quiet) {
      bar_.clear();
      std::fprintf(stderr, "easel: seed %llu\n", static_cast<unsigned long long>(job.requests.front().seed));
    }
    seconds_.load = pipeline.info().load_seconds;
    bar_.phase("encoding the prompt");
    if (job.requests.size() > 1) {
      add(seconds_, pipeline.encode_prompts(job.requests));
    }
    for (size_t i = 0; i < job.requests.size(); ++i) draw(job, i, pipeline, folder);
    if (options_.save_grid && !grid_.empty()) write_grid(job, folder);
    bar_.clear();
    seconds_.total = seconds_since(start);
    if (options_.json) print_json(pipeline.info());
  }

 private:
  void warn(const std::string& message) {
    bar_.clear();
    print_warning(message);
  }

  void draw(const Job& job, size_t number, TextToImagePipeline& pipeline, OutputFolder& folder) {
    const TextToImageRequest& request = job.requests[number];
    const std::string label =
        job.requests.size() > 1 ? fmt::format("prompt {}/{}", number + 1, job.requests.size()) : "";
    std::vector<std::pair<std::string, Tensor>> traced;
    TraceSink trace;
    if (options_.trace)
      trace = [&](const std::string& name, const Tensor& value) { traced.emplace_back(name, value.clone()); };
    const TextToImageResult result = pipeline.generate(
        request, [&](const StepProgress& progress) { bar_.steps(label, progress); }, trace);
    add(seconds_, result.seconds);
    adapted_ |= !result.loras.empty();
    for (size_t i = 0; i < result.pictures.size(); ++i) {
      const Picture& picture = result.pictures[i];
      if (job.only_index && picture.index != *job.only_index) continue;
      io::Image image{picture.width, picture.height, 3, picture.rgb};
      const std::string path = folder.write(
          "img", request.steps, image,
          to_png_text(describe_picture(job, request, picture, pipeline.info(), lora_hashes_.list(result.loras))));
      if (options_.save_latents) {
        const auto row = static_cast<int64_t>(i);
        io::write_safetensors(path.substr(0, path.size() - 4) + "_latents.safetensors",
                              {{"latents", result.latents.rows(row, row + 1)}});
      }
      announce(path);
      images_.push_back({{"file", path}, {"seed", picture.seed}, {"steps", request.steps}});
      if (options_.save_grid) grid_.push_back(std::move(image));
    }
    if (options_.trace) io::write_safetensors(*options_.trace, traced);
  }

  void write_grid(const Job& job, OutputFolder& folder) {
    announce(folder.write("grid", job.requests.front().steps, make_grid(grid_), {}));
  }

  void announce(const std::string& path) {
    bar_.clear();
    if (options_.json) return;
    std::puts(path.c_str());
    std::fflush(stdout);
  }

  void print_json(const TextToImagePipeline::Info& info) const {
    nlohmann::ordered_json out = {{"images", images_},
                                  {"seconds",
                                   {{"load", seconds_.load},
                                    {"compile", seconds_.compile},
                                    {"text_encode", seconds_.text_encode},
                                    {"steps", seconds_.steps},
                                    {"decode", seconds_.decode},
                                    {"total", seconds_.total}}},
                                  {"peak_memory_bytes", device::peak_resident_memory()},
                                  {"device", info.device},
                                  {"threads", info.threads}};
    if (adapted_) out["seconds"]["lora"] = seconds_.lora;
    std::puts(out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
  }

  const GenerateOptions& options_;
  ProgressBar bar_;
  CancelToken cancel_;
  Timings seconds_;
  nlohmann::ordered_json images_ = nlohmann::ordered_json::array();
  std::vector<io::Image> grid_;
  LoraHashes lora_hashes_;
  bool adapted_ = false;
};

}  // namespace

int generate(std::span<const std::string> args) {
  GenerateOptions options;
  if (!options.parse(args)) return 0;
  Generation(options, cancel_on_interrupt()).run();
  return 0;
}

}  // namespace easel::cli
