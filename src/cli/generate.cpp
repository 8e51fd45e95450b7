// easel generate: prompts → pictures.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/fail.h"
#include "cli/commands.h"
#include "cli/interrupts.h"
#include "cli/job.h"
#include "cli/lora_options.h"
#include "cli/output_files.h"
#include "cli/progress_bar.h"
#include "cli/resume.h"
#include "device/memory.h"
#include "io/safetensors.h"
#include "pipelines/requests.h"
#include "text/lora_tags.h"
#include "text/prompt.h"

namespace easel::cli {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

void add(Timings& sum, const Timings& part) {
  sum.compile += part.compile;
  sum.lora += part.lora;
  sum.text_encode += part.text_encode;
  sum.image_encode += part.image_encode;
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
    leave_out_of_picture(job, options_, pipeline.info(), [this](const std::string& message) { warn(message); });
    for (const TextToImageRequest& request : job.requests)
      pipeline.validate(job.refiner ? first_half(job, request) : request);
    if (job.refiner) load_refiner(job);
    folder.create();
    if (options_.preview_every) show_previews(job, pipeline, folder);
    if (options_.resume) find_finished(job, pipeline);
    if (job.random_seed && !options_.quiet) {
      bar_.clear();
      std::fprintf(stderr, "easel: seed %llu\n", static_cast<unsigned long long>(job.requests.front().seed));
    }
    seconds_.load = pipeline.info().load_seconds + (refiner_ ? refiner_->info().load_seconds : 0);
    bar_.phase("encoding the prompt");
    std::vector<TextToImageRequest> left;
    for (size_t i = 0; i < job.requests.size(); ++i)
      if (!done_.contains(i)) left.push_back(job.refiner ? first_half(job, job.requests[i]) : job.requests[i]);
    if (left.size() > 1) add(seconds_, pipeline.encode_prompts(left));
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

  // What earlier runs of the same job have left in the folder, by request.
  void find_finished(Job& job, const TextToImagePipeline& pipeline) {
    const TextToImageRequest& first = job.requests.front();
    FinishedPictures found(options_.out_dir.value_or("outputs"), first.width > 0 || first.height > 0);
    Picture picture;
    const auto hashes_of = [&](size_t i) { return lora_hashes_.list(pipeline.loras_of(job.requests[i])); };
    if (job.random_seed)
      for (size_t i = 0; i < job.requests.size() && job.random_seed; ++i)
        if (const auto seed = found.seed_of(describe_picture(job, i, picture, pipeline.info(), hashes_of(i)))) {
          for (TextToImageRequest& request : job.requests) request.seed = *seed;
          job.random_seed = false;
        }
    for (size_t i = 0; i < job.requests.size(); ++i) {
      std::map<int, std::string> files;
      int wanted = 0;
      const std::string hashes = hashes_of(i);
      for (picture.index = 0; picture.index < job.requests[i].num_images_per_prompt; ++picture.index) {
        if (job.only_index && picture.index != *job.only_index) continue;
        ++wanted;
        const auto path = found.take(describe_picture(job, i, picture, pipeline.info(), hashes));
        if (path && (!options_.save_latents || std::filesystem::exists(latents_path(*path))))
          files[picture.index] = *path;
      }
      if (static_cast<int>(files.size()) == wanted) done_.insert(i);
      if (!files.empty()) finished_[i] = std::move(files);
    }
  }

  static TextToImageRequest first_half(const Job& job, TextToImageRequest request) {
    request.sampling.denoising_end = job.refiner_start;
    request.latents_only = true;
    // Scores are for the second model.
    request.added.aesthetic_score = AddedConditions().aesthetic_score;
    request.added.negative_aesthetic_score = AddedConditions().negative_aesthetic_score;
    return request;
  }

  // Everything else stays: the prompts are encoded again, by the refiner's own text encoder.
  static TextToImageRequest second_half(const Job& job, TextToImageRequest request) {
    request.sampling.denoising_start = job.refiner_start;
    request.initial_latents.reset();
    // Adapters are the first model's.
    request.loras.clear();
    request.ip_adapters.clear();
    // So are the texts of its second encoder; the refiner's only one reads the prompt, as in diffusers.
    request.prompt_2 = request.negative_prompt_2 = "";
    for (SizeConditions* size :
         {&request.added.size, request.added.negative_size ? &*request.added.negative_size : nullptr})
      if (size) size->target_width = size->target_height = 0;
    if (text::parse_prompt_style(request.prompt_style) == text::PromptStyle::a1111)
      request.prompt = text::take_lora_tags(request.prompt).text;
    return request;
  }

  void load_refiner(const Job& job) {
    LoadOptions load = job.load;
    // Parts that were given replace those of the first model.
    load.unet_file = load.vae_file = load.text_encoder_file = load.text_encoder_2_file = load.prediction_type = "";
    bar_.phase("loading the refiner");
    refiner_.emplace(TextToImagePipeline::load(job.refiner->path, load));
    for (const TextToImageRequest& request : job.requests) refiner_->validate(second_half(job, request));
  }

  static std::string latents_path(const std::string& picture) {
    return picture.substr(0, picture.size() - 4) + "_latents.safetensors";
  }

  void report(const std::string& path, uint64_t seed, int steps) {
    announce(path);
    images_.push_back({{"file", path}, {"seed", seed}, {"steps", steps}});
  }

  void draw(const Job& job, size_t number, TextToImagePipeline& pipeline, OutputFolder& folder) {
    const TextToImageRequest& request = job.requests[number];
    const std::map<int, std::string>& finished = finished_[number];
    if (done_.contains(number)) {
      for (const auto& [index, path] : finished)
        report(path, sampling::image_seed(pipelines::noise_options_of(request), index), request.steps);
      return;
    }
    const std::string label =
        job.requests.size() > 1 ? fmt::format("prompt {}/{}", number + 1, job.requests.size()) : "";
    std::vector<std::pair<std::string, Tensor>> traced;
    TraceSink trace;
    if (options_.trace)
      trace = [&](const std::string& name, const Tensor& value) { traced.emplace_back(name, value.clone()); };
    const auto progress = [&](const StepProgress& state) { bar_.steps(label, state); };
    TextToImageResult result =
        pipeline.generate(refiner_ ? first_half(job, request) : request, progress, refiner_ ? TraceSink() : trace);
    add(seconds_, result.seconds);
    const std::vector<Lora> adapters = result.loras;
    adapted_ |= !adapters.empty();
    if (refiner_) {
      TextToImageRequest rest = second_half(job, request);
      rest.noisy_latents = result.latents;
      result = refiner_->generate(rest, progress, trace);
      add(seconds_, result.seconds);
    }
    for (size_t i = 0; i < result.pictures.size(); ++i) {
      const Picture& picture = result.pictures[i];
      if (job.only_index && picture.index != *job.only_index) continue;
      if (const auto there = finished.find(picture.index); there != finished.end()) {
        report(there->second, picture.seed, request.steps);
        continue;
      }
      io::Image image{picture.width, picture.height, 3, picture.rgb};
      const std::string path = folder.write(
          "img", request.steps, image,
          to_png_text(describe_picture(job, number, picture, pipeline.info(), lora_hashes_.list(adapters))));
      if (options_.save_latents) {
        const auto row = static_cast<int64_t>(i);
        io::write_safetensors(latents_path(path), {{"latents", result.latents.rows(row, row + 1)}});
      }
      report(path, picture.seed, request.steps);
      if (options_.save_grid) grid_.push_back(std::move(image));
    }
    if (options_.trace) io::write_safetensors(*options_.trace, traced);
  }

  void show_previews(const Job& job, TextToImagePipeline& pipeline, OutputFolder& folder) {
    PreviewOptions preview;
    preview.every = static_cast<int>(*options_.preview_every);
    preview.decoder = options_.preview_vae.value_or("");
    pipeline.set_preview_sink(
        [this, &job, &folder](const Preview& now) {
          for (const Picture& picture : now.pictures)
            if (!job.only_index || picture.index == *job.only_index)
              announce(folder.write("preview", now.step, {picture.width, picture.height, 3, picture.rgb}, {}));
        },
        preview);
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
    if (seconds_.image_encode > 0) out["seconds"]["image_encode"] = seconds_.image_encode;
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
  std::optional<TextToImagePipeline> refiner_;
  std::map<size_t, std::map<int, std::string>> finished_;  // of a request: the pictures that are there, by index
  std::set<size_t> done_;                                  // requests of which all are
};

}  // namespace

int generate(std::span<const std::string> args) {
  GenerateOptions options;
  if (!options.parse(args)) return 0;
  Generation(options, cancel_on_interrupt()).run();
  return 0;
}

}  // namespace easel::cli
