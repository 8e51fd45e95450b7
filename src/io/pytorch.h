// Checkpoints as torch.save writes them: a zip archive with a pickle and one stored entry per storage, or, before
// torch 1.6, several pickles in a row followed by the storages.
// https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "io/tensor_file.h"

namespace easel::io {

/// The tensors of "state_dict", or of the whole dictionary, with the scalars beside it ("epoch") as metadata. Nothing
/// is copied. Both throw io, naming `where`: for pickles that ask for more than tensors (see Pickle), for storages and
/// tensors that reach outside the file, tensors with more elements than their storage, big-endian files, TorchScript
/// programs, and archives without data.pkl.
TensorListing read_pytorch_zip(std::span<const std::byte> bytes, std::string_view where);
TensorListing read_pytorch_legacy(std::span<const std::byte> bytes, std::string_view where);

/// Whether a file begins as pickles of any protocol do and not as a safetensors file.
bool looks_like_pickle(std::span<const std::byte> bytes);

}  // namespace easel::io
