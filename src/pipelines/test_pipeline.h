// What tests of the pipeline load models with (tests only).
#pragma once

#include <easel/pipeline.h>

namespace easel {

inline LoadOptions fp32_options(int threads = 1) {
  LoadOptions out;
  out.unet = out.vae = out.text_encoder = Precision::fp32;
  out.threads = threads;
  return out;
}

}  // namespace easel
