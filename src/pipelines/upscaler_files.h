// Upscaling networks on disk: which one a file holds, its sizes, and the names of its weights.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "models/rrdb_net.h"
#include "models/srvgg_net.h"
#include "pipelines/model_files.h"

namespace easel::pipelines {

using UpscalerConfig = std::variant<models::RRDBNetConfig, models::SRVGGNetConfig>;

struct UpscalerFiles {
  UpscalerConfig config;
  std::shared_ptr<const FileWeights> weights;
  std::string prefix;  ///< what stands before every name in the file: "params_ema."
};

/// Sizes are read off the tensors. RRDBNet comes in three namings: of BasicSR and Real-ESRGAN (body.0.rdb1.conv1), of
/// ESRGAN's repository (RRDB_trunk.0.RDB1.conv1), and of the programs before it (model.1.sub.0.RDB1.conv1.0); compact
/// ones in one. Throws io for missing tensors, unsupported for another network or one with tensors beside these.
UpscalerFiles read_upscaler(const std::string& path);

/// The names of an RRDBNet's weights in the oldest naming, for a test and for writing.
NameCandidates esrgan_names(const models::RRDBNetConfig& config, const std::string& prefix = "model.");

}  // namespace easel::pipelines
