// Upscaling networks: a picture in, the same picture with more pixels out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <easel/cancel.h>
#include <easel/pipeline.h>

namespace easel {

/// 8-bit samples, rows from the top, no padding: samples[(y · width + x) · channels + c], 0 … 255.
struct Pixels {
  int64_t width = 0, height = 0;
  int channels = 3;  ///< 3: RGB; 4: RGB and alpha, not premultiplied
  std::vector<uint8_t> samples;
};

struct UpscalerOptions {
  Precision precision = Precision::automatic;
  int threads = 0;     ///< 0: one per physical core
  CancelToken cancel;  ///< stops loading and running
};

/// How a large picture is cut. Each tile is computed with `overlap` pixels of its surroundings on every side, which are
/// then dropped. Where overlap reaches as far as the network looks (Upscaler::Info::reach), the result is that of the
/// whole picture; where it does not, tiles differ from it by what little comes from further away.
struct UpscaleTiling {
  static constexpr int64_t kAutomatic = -1;
  int64_t tile = kAutomatic;     ///< side in pixels of the input; 0: never cut; automatic: 512 beyond 768² pixels
  int64_t overlap = kAutomatic;  ///< in pixels of the input; automatic: the network's reach, at most 32
};

struct UpscaleProgress {
  int done = 0, total = 0;  ///< tiles
};

/// A loaded network. Calls from several threads are served one after the other.
class Upscaler {
 public:
  /// path: a file of any container (.pth, .safetensors, …) with the weights of ESRGAN or Real-ESRGAN in the names of
  /// any of their programs, or of a compact Real-ESRGAN; which it is, its sizes and its factor are read off the
  /// tensors. Throws io, or unsupported for other networks, naming the file and what was found in it.
  static Upscaler load(const std::string& path, const UpscalerOptions& options = {});
  ~Upscaler();
  Upscaler(Upscaler&&) noexcept;
  Upscaler& operator=(Upscaler&&) noexcept;

  struct Info {
    std::string path;
    std::string architecture;  ///< "RRDBNet, 23 blocks of 64 features"
    int64_t scale = 0;         ///< pixels out per pixel in along one axis
    int64_t reach = 0;         ///< how far away a pixel of the input can matter, in pixels
    int64_t parameters = 0;
    Precision precision;  ///< what runs; never automatic
    std::string device;   ///< "cpu (AMD …, avx512_bf16)"
    int threads = 0;
    double load_seconds = 0;
  };
  const Info& info() const;

  /// The picture `scale` times as wide and high. Alpha, unless it is one value everywhere, goes through the network as
  /// a gray picture of its own. The result depends on the arguments alone.
  /// Throws invalid_argument for an empty picture, other channels, or a tiling out of range; out_of_memory; cancelled.
  Pixels upscale(const Pixels& picture, const UpscaleTiling& tiling = {},
                 const std::function<void(const UpscaleProgress&)>& progress = {});
  /// Bytes that upscale() takes at its highest besides the weights and the picture, before anything runs.
  int64_t working_bytes(int64_t width, int64_t height, const UpscaleTiling& tiling = {});
  /// Reports every kernel launch from now on, on the thread that runs the network; an empty sink ends that.
  void set_launch_sink(const LaunchSink& sink);

 private:
  struct Impl;
  explicit Upscaler(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace easel
