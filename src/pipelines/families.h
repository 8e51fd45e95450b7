// What a weight file is: a table of signatures, one row per family and layout.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/weight_files.h"

namespace easel::pipelines {

enum class Part { denoiser, vae, text_encoder, lora, control_net, adapter, embedding, upscaler };

/// "UNet or transformer", "VAE", …
const char* to_string(Part part) noexcept;

/// One row: a tensor whose name (and sizes) only this family has.
struct Signature {
  const char* family;  ///< "Stable Diffusion 1.x"
  Part part;
  const char* layout;  ///< whose names these are: "original", "diffusers", …
  const char* tensor;  ///< name after one of the part's prefixes; '*x': any name that ends so; '*x*': that holds x
  std::vector<int64_t> shape;  ///< required sizes, −1 for any; empty: any shape
  bool general = false;        ///< of the architecture at other sizes: counts only where no row before named the part
};

struct Match {
  const Signature* row = nullptr;
  std::string tensor;  ///< as it stands in the file
  std::string prefix;  ///< what stood before the row's name
  Shape shape;
};

/// What identify() finds in one file.
struct Identity {
  std::vector<Match> parts;                        ///< at most one per part and family, in the order of the table
  std::string prediction_type, prediction_reason;  ///< "epsilon", "v_prediction"; empty where nothing is predicted
  int64_t in_channels = 0;                         ///< of a UNet; 0 where not known

  const Match* find(Part part) const;
  /// "Stable Diffusion 1.x checkpoint", "LoRA", "VAE of …"; "unknown" where no row matches.
  std::string summary() const;
  /// "tensor 'x' has shape [320, 768]" for the part that named the family.
  std::string evidence() const;
};

/// Looks every row up. Reads names and shapes; of values, nothing.
Identity identify(const io::WeightFiles& files);

/// "; --vae takes it": which option or command a file of these parts is for; "" where there is none.
std::string option_for(const Identity& identity);

/// Throws unsupported if the file is something else than `wanted`, saying what it is and which option takes it. `where`
/// begins the message: a path, or an option and a path. A file that holds more than the part is fine.
void expect_part(const io::WeightFiles& files, Part wanted, const std::string& where);

/// Throws unsupported if the file holds denoisers of two families or, unless another text encoder replaces it, one that
/// its denoiser cannot use.
void expect_one_family(const io::WeightFiles& files, bool own_text_encoder, const std::string& where);

/// What a folder without model_index.json is, as far as that can be told, with the option that takes it: "the folder of
/// one part, AutoencoderKL; --vae takes it", "none, only the file x (LoRA)". "none" where nothing is known. Throws
/// nothing.
std::string describe_folder(const std::string& path);

}  // namespace easel::pipelines
