// Textual inversions: vectors that stand for words of the prompt. Gal et al. 2022, "An Image is Worth One Word".
#pragma once

#include <map>
#include <string>
#include <vector>

#include <easel/tensor.h>

namespace easel::pipelines {

struct TextualInversion {
  std::string name;  ///< of the file, without .safetensors; in a folder with the path inside of it, "style/oil"
  Tensor vectors;    ///< [n, width] f32, in place of token embeddings
};

struct TextualInversions {
  std::vector<TextualInversion> all;
  std::map<std::string, std::string> unusable;  ///< files of folders: name → why not
};

/// Reads safetensors files, and all of them below folders. The vectors are the tensor emb_params (A1111), clip_l, or
/// the only tensor of the file, [n, width] or [width] of a floating type. Of equal names the first counts.
/// In a folder, files that do not fit `width` are left out; a file named itself has to. Throws io, unsupported for
/// other formats, shape_mismatch for another width.
TextualInversions read_textual_inversions(const std::vector<std::string>& paths, int64_t width);

}  // namespace easel::pipelines
