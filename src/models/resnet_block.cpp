#include "models/resnet_block.h"

namespace easel::models {

using nn::Scope;
using nn::Var;

Var resnet_block(const Scope& s, const Var& x, const Var* temb, int64_t out, const ResnetConfig& config) {
  Var h = activation(group_norm(s / "norm1", x, config.groups, config.eps), config.activation);
  h = conv3x3(s / "conv1", h, out);  // [B, H, W, out]

  const int64_t time_channels = config.scale_shift ? 2 * out : out;
  Var time;
  if (temb) {
    time = linear(s / "time_emb_proj", activation(*temb, config.activation), time_channels);
    time = reshape(time, {x.dim(0), 1, 1, time_channels});
  }
  if (temb && !config.scale_shift) h = h + time;
  h = group_norm(s / "norm2", h, config.groups, config.eps);
  if (temb && config.scale_shift) {
    const Var scale = slice(time, -1, 0, out), shift = slice(time, -1, out, out);
    h = h + h * scale + shift;
  }
  h = conv3x3(s / "conv2", activation(h, config.activation), out);

  const Var shortcut = x.channels() == out ? x : conv1x1(s / "conv_shortcut", x, out);
  return (shortcut + h) * (1.0 / config.output_scale_factor);
}

Var upsample(const Scope& s, const Var& x, const Dim& height, const Dim& width) {
  return conv3x3(s / "conv", upsample_nearest(x, height, width), x.channels());  // [B, height, width, C]
}

}  // namespace easel::models
