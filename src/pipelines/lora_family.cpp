// Which models a LoRA was made for: from its metadata, the layers that it names, and how wide they are.
#include <algorithm>

#include "base/fail.h"
#include "pipelines/lora_file.h"

namespace easel::pipelines {

namespace {

constexpr const char *kSd1 = "Stable Diffusion 1.x", *kSd2 = "Stable Diffusion 2.x", *kXl = "Stable Diffusion XL";

struct Sign {
  const char* text;
  const char* family;
};

// What training programs write down: the beginning of a value.
constexpr Sign kMetadata[] = {
    {"sdxl_", kXl},
    {"sd_v1", kSd1},
    {"sd_v2", kSd2},
    {"sd_1", kSd1},
    {"sd_2", kSd2},
    {"sd3", "Stable Diffusion 3"},
    {"flux", "FLUX"},
    {"stable-diffusion-xl-v1-refiner", "Stable Diffusion XL refiner"},
    {"stable-diffusion-xl", kXl},
    {"stable-diffusion-v1", kSd1},
    {"stable-diffusion-v2", kSd2},
    {"stable-diffusion-v3", "Stable Diffusion 3"},
    {"hunyuan-video", "HunyuanVideo"},
    {"wan", "Wan"},
};

// Parts of names that one family alone has, dots being underscores; special before general.
constexpr Sign kNames[] = {
    {"img_mod_linear", "HunyuanVideo"},
    {"single_transformer_blocks_", "FLUX"},
    {"single_blocks_", "FLUX"},
    {"double_blocks_", "FLUX"},
    {"joint_blocks_", "Stable Diffusion 3"},
    {"attn_add_k_proj", "Stable Diffusion 3"},
    {"_cross_attn_norm_k", "Wan"},
    {"blocks_0_cross_attn_k", "Wan"},
    {"lora_te2_", kXl},
    {"text_encoder_2_", kXl},
    {"text_encoders_clip_g_", kXl},
    {"attentions_0_transformer_blocks_1_", kXl},
    {"input_blocks_4_1_transformer_blocks_1_", kXl},
    {"input_blocks_7_1_transformer_blocks_1_", kXl},
};

// Features of the text that a UNet attends to.
const char* family_of_width(int64_t width) {
  switch (width) {
    case 768: return kSd1;
    case 1024: return kSd2;
    case 2048: return kXl;
    case 1280: return "Stable Diffusion XL refiner";
    default: return nullptr;
  }
}

// Columns of the layer's weight, where the adapter shows them.
int64_t input_width(const LoraLayer& layer) {
  const auto columns = [&](const char* role) -> int64_t {
    const Tensor* t = layer.find(role);
    return t && t->rank() >= 2 ? t->dim(1) : 0;
  };
  switch (layer.kind) {
    case LoraLayer::Kind::lora: return columns("down");
    case LoraLayer::Kind::loha: return columns("w1_b");
    case LoraLayer::Kind::lokr:
      return std::max(columns("w1"), columns("w1_b")) * std::max(columns("w2"), columns("w2_b"));
    case LoraLayer::Kind::full: return columns("diff");
  }
  return 0;
}

std::string flat(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

}  // namespace

LoraFile::Family LoraFile::family() const {
  for (const char* key : {"modelspec.architecture", "ss_base_model_version"})
    if (const auto found = metadata_.find(key); found != metadata_.end())
      for (const Sign& sign : kMetadata)
        if (found->second.starts_with(sign.text))
          return {sign.family, fmt::format("its metadata {} is \"{}\"", key, printable(found->second, 60))};
  for (const Sign& sign : kNames)
    for (const LoraLayer& layer : layers_)
      if (flat(layer.key).find(sign.text) != std::string::npos)
        return {sign.family, fmt::format("it has a layer '{}'", printable(layer.key))};
  for (const LoraLayer& layer : layers_) {
    const std::string name = flat(layer.key);
    if (!name.ends_with("attn2_to_k") && !name.ends_with("attn2_to_v")) continue;
    const int64_t width = input_width(layer);
    if (const char* family = family_of_width(width))
      return {family, fmt::format("its layer '{}' reads {} features of the text", printable(layer.key), width)};
  }
  return {};
}

}  // namespace easel::pipelines
