// Textual inversions: vectors that stand for words of the prompt. Gal et al. 2022, "An Image is Worth One Word".
#pragma once

#include <map>
#include <string>
#include <vector>

#include <easel/tensor.h>

namespace easel::pipelines {

struct TextualInversion {
  std::string name;  ///< of the file, without .safetensors; in a folder with the path inside of it, "style/oil"
  /// [n, width] f32 for each text encoder, in place of token embeddings.
  std::vector<Tensor> vectors;
};

struct TextualInversions {
  std::vector<TextualInversion> all;
  std::map<std::string, std::string> unusable;  ///< files of folders: name → why not
};

/// A text encoder that embeddings are for.
struct InversionSlot {
  const char* tensor;  ///< "clip_l" or "clip_g"
  int64_t width;
};

/// Reads .safetensors, .pt and .bin files (PyTorch checkpoints; nothing in them is ever run), and all of them below
/// folders. For one encoder the vectors are the tensor emb_params or, in the web UI's checkpoints, "*" of
/// string_to_param; that of the slot; or the only tensor of the file (diffusers: named as the token). For two, those of
/// the slots, as many in each: [n, width] or [width] of a floating type. Of equal names the first counts. In a folder,
/// files that do not fit are left out; a file named itself has to. Throws io, unsupported for other formats,
/// shape_mismatch for another width.
TextualInversions read_textual_inversions(const std::vector<std::string>& paths,
                                          const std::vector<InversionSlot>& slots);

}  // namespace easel::pipelines
