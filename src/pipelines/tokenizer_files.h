// Tokenizers of models that hold none: single files.
#pragma once

#include <string>
#include <vector>

namespace easel::pipelines {

/// The folder of vocab.json and merges.txt for the text encoder `encoder` ("text_encoder" or "text_encoder_2") of the
/// file at `path`: `tokenizer_2` (of the second encoder) or `tokenizer` beside the file, else in the first of `folders`
/// that has one. "" where there is none.
std::string find_tokenizer(const std::string& path, const std::string& encoder,
                           const std::vector<std::string>& folders = {});

}  // namespace easel::pipelines
