// What `easel inspect` says about weight files.
#pragma once

#include <string>

namespace easel::cli {

/// Family and why, prediction type, parameters, dtypes, tensors, metadata and hashes of one file (of any container, or
/// an index of shards) or of the weights in the folder of one network. hash: also SHA-256, for which the whole file is
/// read. Prints on standard output; throws io.
void inspect_weights(const std::string& path, bool json, bool hash);

/// Which tensors only one of two files has, which differ in shape or encoding, and how far values are apart.
void inspect_difference(const std::string& a, const std::string& b, bool json);

}  // namespace easel::cli
