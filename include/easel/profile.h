// What a model does while it runs, launch by launch: the material of profiles.
#pragma once

#include <functional>
#include <string>

namespace easel {

/// One kernel launch. Reported after it ended, so that nothing of the report is in its time.
struct Launch {
  std::string component;  ///< "text_encoder", "unet", "vae"
  std::string entry;      ///< how often it runs: "model", "request", "schedule" or "step"
  int index = 0;          ///< its place in the entry
  std::string layer;      ///< node name: "down_blocks.0.attentions.1"
  std::string op;         ///< "linear bias gelu_erf"
  std::string op_class;   ///< "linear", "conv 1x1", "conv 3x3", "conv", "attention", "norm", "element-wise", "movement"
  std::string kernel;     ///< row of the operator's list: "avx512_bf16"
  std::string shapes;     ///< "f32 [2, 4096, 320] bf16 [320, 320] -> f32 [2, 4096, 320]"
  double flops = 0;       ///< of the direct form; 0 where traffic is the cost
  double bytes = 0;       ///< read and written at least
  double begin = 0;       ///< seconds on a steady clock of no particular start
  double seconds = 0;
};

using LaunchSink = std::function<void(const Launch&)>;

}  // namespace easel
