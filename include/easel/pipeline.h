// Text to pictures in one object: load a model, ask for pictures.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <easel/cancel.h>
#include <easel/ip_adapter.h>
#include <easel/lora.h>
#include <easel/picture_inputs.h>
#include <easel/profile.h>
#include <easel/tensor.h>

namespace easel {

/// Precision of one part of a model. automatic: bf16 where the processor has bf16 dot products, else fp32.
enum class Precision { automatic, fp32, bf16, fp16 };

/// "fp32", "bf16", "fp16" → value; throws unsupported for "int8" (not available yet), invalid_argument otherwise.
Precision parse_precision(const std::string& name);
std::string to_string(Precision precision);

/// Whether the VAE runs in bands of rows, which takes less memory. There are no seams: norms are still over the whole
/// picture. on: with the least memory, some layers being computed more than once and the decoded picture being off by
/// roundings (relative L2 below 1e-6 in fp32). automatic: only where it would not fit otherwise, and then, if it can
/// be, so that no bit changes.
enum class VaeTiling { automatic, on, off };

struct LoadOptions {
  Precision unet = Precision::automatic;
  Precision vae = Precision::automatic;
  Precision text_encoder = Precision::automatic;
  int threads = 0;  ///< 0: one per physical core
  /// Folders with vocab.json and merges.txt, for the text encoders of --text-encoder and --text-encoder-2; empty: the
  /// model's own, and where there is none for the second (single files), that of the first. A single file that is given
  /// none takes the folder `tokenizer` (and `tokenizer_2`) beside it, else that in the first of `tokenizer_dirs`.
  std::string tokenizer, tokenizer_2;
  std::vector<std::string> tokenizer_dirs;
  /// Files or component folders that replace parts of the model; empty: its own. Any container, original or diffusers
  /// names, also whole checkpoints, of which the one part is taken. text_encoder_2: SDXL's OpenCLIP-bigG.
  std::string unet_file, vae_file, text_encoder_file, text_encoder_2_file;
  std::string prediction_type;  ///< "epsilon", "v_prediction" or "sample" (x0); empty: what the model's files say
  std::vector<std::string> embeddings;  ///< textual inversions: .safetensors files, and folders of them
  std::vector<std::string> lora_dirs;   ///< folders in which LoRAs are looked up by name, also below them
  /// false: the memory of the encoders of texts and of pictures as prompts is given back once a call's are encoded.
  bool keep_text_encoder = true;
  /// Resident bytes of the process that no request may exceed; 0: what the machine has. A request that fits in no way
  /// is refused before it runs, with out_of_memory and a line that says what would fit.
  int64_t memory_limit = 0;
  bool offload = false;  ///< only the component in use is packed: less memory, and packing again for each request
  VaeTiling vae_tiling = VaeTiling::automatic;
  /// Weights that a file holds in blocks (GGUF) or as fp8 stay so in memory and are decoded while they are multiplied.
  /// true: they are expanded when loaded, which takes more memory and gives the same bits.
  bool expand_weights = false;
  std::function<void(const std::string&)> warn;  ///< one line per warning; empty: standard error
  bool plan_only = false;  ///< a folder of configurations is enough: describe() tells the plan, nothing runs
  CancelToken cancel;      ///< stops loading and running
};

/// The rest of what a sampler can be told. Defaults leave everything as the sampler has it.
struct SamplingOptions {
  std::vector<double> sigmas;   ///< the noise levels themselves, decreasing; instead of steps and scheduler
  double denoise = 1;           ///< below 1: the last part of a schedule of ⌊steps/denoise⌋ steps
  int start_step = 0;           ///< first step that runs
  std::optional<int> end_step;  ///< steps from here on do not run; what noise is left stays
  /// Hand-over to another model: only the steps in this part of the trained timesteps, from the noisiest (0) to the
  /// cleanest (1), as diffusers' options of these names.
  std::optional<double> denoising_start, denoising_end;
  double s_churn = 0, s_tmin = 0, s_tmax = std::numeric_limits<double>::infinity(),
         s_noise = 1;                 ///< Karras et al. 2022
  std::optional<double> rho;          ///< of the schedules karras and polyexponential
  double rtol = 0.05, atol = 0.0078;  ///< tolerances of dpm_adaptive
};

/// What is done to classifier-free guidance; see docs/SAMPLERS.md. Defaults change nothing.
struct GuidanceOptions {
  double rescale = 0;                 ///< towards the deviation of the prompt's prediction, 0 to 1
  double start = 0, end = 1;          ///< the part of the trained timesteps, from the noisiest, in which it acts
  std::optional<double> mimic_scale;  ///< dynamic thresholding: the reach of this milder guidance scale
  double threshold_quantile = 1;      ///< of the deviations that dynamic thresholding clamps to
  double pag_scale = 0;               ///< perturbed attention guidance; 0: none
  double pag_adaptive_scale = 0;      ///< how fast it falls: pag_scale − this·(1000 − t), at least 0
  /// Parts of the names of the self-attention layers that are perturbed; a dot stands for any character.
  std::vector<std::string> pag_applied_layers = {"mid"};
  /// Two prompts: u + middle_guidance_scale·(m − u) + guidance_scale·(c − m), m the prediction for middle_prompt
  /// (Brooks et al. 2022). Both or neither.
  std::optional<double> middle_guidance_scale;
  std::optional<std::string> middle_prompt;
};

/// Factors of the backbone (b) and of the skips' low frequencies (s) in the first two blocks of the UNet's way up.
/// Si et al. 2023, "FreeU: Free Lunch in Diffusion U-Net"; as diffusers' enable_freeu.
struct FreeU {
  double b1 = 1.5, b2 = 1.6, s1 = 0.9, s2 = 0.2;
};

/// Where the noise comes from; see docs/SAMPLERS.md.
struct NoiseRules {
  std::string rng;                    ///< torch ("": the same), comfy, cuda, a1111, a1111_cpu
  uint64_t eta_noise_seed_delta = 0;  ///< a1111: added to the seed for the noise of the steps
  double variation_strength = 0;      ///< how far to the noise of another seed, 0 to 1; picture i: variation_seed + i
  uint64_t variation_seed = 0;
};

/// What SDXL is told of the size and the crop of a picture, in pixels. Podell et al. 2023, "SDXL: Improving Latent
/// Diffusion Models for High-Resolution Image Synthesis", section 2.2.
struct SizeConditions {
  int64_t original_width = 0, original_height = 0;  ///< before it was scaled for training; 0: the size that is made
  int64_t crop_top = 0, crop_left = 0;
  int64_t target_width = 0, target_height = 0;  ///< 0: the size that is made
};

/// Beside the prompts. A request that gives a model what it is not told of is refused: sizes to others than SDXL, a
/// target size to the refiner, scores to all but the refiner.
struct AddedConditions {
  SizeConditions size;
  std::optional<SizeConditions> negative_size;                 ///< for the negative prompt; nothing: the same
  double aesthetic_score = 6, negative_aesthetic_score = 2.5;  ///< the refiner's
};

/// One prompt's worth of pictures. Results depend on these fields alone, never on time, threads or earlier calls.
struct TextToImageRequest {
  std::string prompt;  ///< UTF-8
  /// Nothing differs from "" in SDXL, whose base was trained with zeros for an absent prompt. Other models encode "".
  std::optional<std::string> negative_prompt;
  /// What SDXL's second text encoder is given instead; empty: the same as the first. Those of the negative prompt count
  /// only beside one. Not in the style a1111, and not for models with one encoder.
  std::string prompt_2, negative_prompt_2;
  /// What marks in the prompts mean. "plain" or "": nothing; what is longer than the encoder's input is cut with a
  /// warning. "comfy", "a1111": weights, chunks and more as these programs have them, see docs/PROMPTS.md.
  std::string prompt_style;
  /// The layer of the text encoders that counts, from the end: 2 leaves out the last one. 0: the model's own, which is
  /// 2 for SDXL and 1 for all others (those of Stable Diffusion 2 come without the last one).
  int clip_skip = 0;
  AddedConditions added;
  int steps = 20;
  double guidance_scale = 7.5;  ///< ≤ 1 runs no negative branch; neither do networks that take the scale as an input
  std::string sampler;          ///< empty: the model's own scheduler
  std::string scheduler;        ///< noise levels: karras, sgm_uniform, …; empty: the model's own
  std::optional<double> eta;    ///< share of the removed noise that is drawn anew; none: as the sampler has it
  SamplingOptions sampling;
  GuidanceOptions guidance;
  std::optional<FreeU> freeu;
  NoiseRules noise;
  /// Adapters that act on this request alone: the pipeline changes only the weights that differ from the request
  /// before. In the style a1111, <lora:name:weight> in the prompt adds more.
  std::vector<Lora> loras;
  LoraMode lora_mode = LoraMode::merge;
  std::vector<IpAdapter> ip_adapters;  ///< pictures as prompts, beside the text
  uint64_t seed = 0;
  int64_t width = 0, height = 0;  ///< pixels, multiples of the VAE's factor (8); 0: the picture's or the model's own
  PictureInputs image;            ///< a picture to begin from, and what of it is drawn anew
  HighResFix high_res_fix;        ///< a second, larger pass; width and height are the first one's
  int num_images_per_prompt = 1;
  int batch_size = 0;  ///< pictures run together; 0: all of a prompt; never changes a picture
  /// [N, C, h, w] f32, in the diffusion model's scale: what another run left, with the noise that is left in it. The
  /// run goes on from there, usually with sampling.denoising_start, and adds none.
  std::optional<Tensor> noisy_latents;
  bool latents_only = false;              ///< nothing is decoded: the result has latents and no pictures
  std::optional<Tensor> initial_latents;  ///< [N, C, h, w] f32 unit-variance noise instead of the seed's
};

struct Picture {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;  ///< height × width × 3
  uint64_t seed = 0;
  int index = 0;  ///< within its prompt
};

/// Pictures that are not done yet.
struct Preview {
  int step = 0;                   ///< iterations of the sampler done
  std::vector<Picture> pictures;  ///< what the model takes each picture of the prompt for by now
};
using PreviewSink = std::function<void(const Preview&)>;

struct PreviewOptions {
  int every = 1;  ///< iterations between two previews
  /// File or folder of a TAESD, which decodes them at full size; empty: a linear map from latents to colours, found
  /// once from the model's own VAE, with one pixel per latent.
  std::string decoder;
};

struct StepProgress {
  int done = 0, total = 0;  ///< denoiser runs of this request; no total (0) where step sizes adapt
  double seconds = 0;       ///< of the last one
};

/// Seconds spent, as `--json` reports them.
struct Timings {
  double load = 0, compile = 0, text_encode = 0;
  double lora = 0;             ///< reading adapters and evaluating packed weights again
  double image_encode = 0;     ///< reading and encoding pictures: to begin from, and as prompts
  std::vector<double> steps;   ///< one per denoiser run, batch after batch
  std::vector<double> decode;  ///< one per batch
  double total = 0;
};

struct TextToImageResult {
  std::vector<Picture> pictures;
  Tensor latents;           ///< final latents of all pictures, [N, C, h, w] f32, in the diffusion model's scale
  std::vector<Lora> loras;  ///< all adapters that acted, with the files that were found
  Timings seconds;
};

/// Called with ("latents.3", tensor) and the like: see the names under `--trace` in the README. Tensors are f32.
using TraceSink = std::function<void(const std::string& name, const Tensor& value)>;

enum class ScheduleFormat { text, json, svg };

/// A loaded model. Calls from several threads are served one after the other.
class TextToImagePipeline {
 public:
  /// path: a diffusers folder, or a single-file checkpoint: safetensors, PyTorch (.ckpt, .pt; nothing in it is ever
  /// run) or GGUF.
  /// Throws io, shape_mismatch or unsupported, naming the file and the tensor or key.
  static TextToImagePipeline load(const std::string& path, const LoadOptions& options = {});
  ~TextToImagePipeline();
  TextToImagePipeline(TextToImagePipeline&&) noexcept;
  TextToImagePipeline& operator=(TextToImagePipeline&&) noexcept;

  /// Throws invalid_argument for fields out of range, before any work; cancelled; out_of_memory.
  void validate(const TextToImageRequest& request) const;
  /// The adapters that act in a request: its own and those of its prompt, with the files that were found. Throws as
  /// validate().
  std::vector<Lora> loras_of(const TextToImageRequest& request) const;
  TextToImageResult generate(const TextToImageRequest& request,
                             const std::function<void(const StepProgress&)>& progress = {},
                             const TraceSink& trace = {});
  /// Encodes the prompts of all requests first, so that the text encoder's memory can go before the first picture;
  /// generate() then finds them encoded. Returns the seconds in `compile` and `text_encode`.
  Timings encode_prompts(const std::vector<TextToImageRequest>& requests);
  /// Puts the adapters of a request into the networks now rather than when it runs; returns seconds.
  double use_adapters(const TextToImageRequest& request);
  /// Shows unfinished pictures from now on, between steps, on the thread that runs the model; an empty sink ends that.
  /// They change no bit of a result. Throws invalid_argument for `every` below 1, io or unsupported for the decoder.
  void set_preview_sink(const PreviewSink& sink, const PreviewOptions& options = {});
  /// Reports every kernel launch from now on, on the thread that runs the model; an empty sink ends that.
  void set_launch_sink(const LaunchSink& sink);

  struct Info {
    std::string path, family, scheduler_class;
    std::string prediction_type;  ///< "epsilon", "v_prediction" or "sample"
    int64_t default_width = 0, default_height = 0;
    Precision unet, vae, text_encoder;  ///< what runs; never automatic
    std::string device;                 ///< "cpu (AMD …, avx512_bf16)"
    int threads = 0;
    double load_seconds = 0;
  };
  const Info& info() const;

  /// Everything `easel inspect` prints about a model at a size, without running it: architecture, parameters, dtypes,
  /// plan, peak memory; with `kernels`, for every layer the kernel chosen and why the others were not.
  std::string describe(const TextToImageRequest& request, bool kernels = false) const;
  /// The same as JSON text.
  std::string describe_json(const TextToImageRequest& request, bool kernels = false) const;
  /// The timesteps and noise levels that a request's sampler visits, one line per step.
  std::string describe_schedule(const TextToImageRequest& request, ScheduleFormat format) const;
  /// How the prompts of a request are read: conditionings, schedule, chunks, tokens and weights; as text or as JSON.
  std::string describe_prompt(const TextToImageRequest& request, bool json = false) const;

 private:
  struct Impl;
  explicit TextToImagePipeline(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace easel
