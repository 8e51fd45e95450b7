// What a request keeps in memory, and when: decided before anything runs.
#pragma once

#include <algorithm>
#include <cstdint>

#include "exec/program.h"

namespace easel::pipelines {

/// The means to need less memory, in the order in which they are taken: what costs least first. All leave every bit of
/// a picture as it is but the last, and that one is taken only where the caller set a limit.
struct Residency {
  exec::BandOptions
      bands;  ///< of the VAE, which then decodes pictures one by one; recompute_elements changes last bits
  bool one_at_a_time = false;   ///< components out of use give back packed weights and working memory
  int batch_size = 1;           ///< pictures through the UNet at once
  bool split_guidance = false;  ///< the two branches one after the other instead of as one batch

  // Resident bytes of the process at their highest while …
  int64_t encoding = 0;   ///< … prompts are encoded
  int64_t prompting = 0;  ///< … pictures that prompt are encoded
  int64_t reading = 0;    ///< … a picture to begin from is encoded
  int64_t denoising = 0;  ///< … the UNet is packed and runs
  int64_t decoding = 0;   ///< … the VAE is packed and runs

  int64_t peak() const { return std::max({encoding, prompting, reading, denoising, decoding}); }
};

/// About the size of a band: large enough that transforming the filters for each costs nothing to speak of.
inline constexpr int64_t kBandBytes = int64_t{16} << 20;

/// Working memory of the whole decoder above which it runs in bands without being asked. For such large pictures bands
/// take no longer and up to a third less memory; at 512² they take a twelfth longer.
inline constexpr int64_t kWholeDecoderBytes = int64_t{1200} << 20;

}  // namespace easel::pipelines
