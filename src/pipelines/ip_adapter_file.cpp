#include "pipelines/ip_adapter_file.h"

#include <algorithm>

#include "base/fail.h"
#include "pipelines/families.h"
#include "pipelines/model_tensors.h"

namespace easel::pipelines {

namespace {

constexpr int64_t kHeadSize = 64;
constexpr int kMostLayers = 4096;  // far more than any network has

std::string key_name(size_t layer) { return fmt::format("ip_adapter.{}.to_k_ip.weight", 2 * layer + 1); }
std::string value_name(size_t layer) { return fmt::format("ip_adapter.{}.to_v_ip.weight", 2 * layer + 1); }

/// Reads sizes off the tensors.
class Reader {
 public:
  explicit Reader(const io::WeightFiles& files) : files_(files), where_(printable(files.path(), 400)) {}

  models::IpAdapterConfig config() const {
    using models::IpAdapterKind;
    refuse_face_id();
    models::IpAdapterConfig out;
    out.cross_attention_dim = matrix(key_name(0))[1];
    if (has("image_proj.proj.weight")) {
      out.kind = IpAdapterKind::plain;
      const Shape proj = matrix("image_proj.proj.weight");
      out.image_dim = proj[1];
      out.tokens = proj[0] / out.cross_attention_dim;
      if (out.tokens < 1 || proj[0] % out.cross_attention_dim != 0)
        fail(ErrorCode::shape_mismatch, "{}: tensor 'image_proj.proj.weight': expected rows for tokens of {}, found {}",
             where_, out.cross_attention_dim, proj.str());
    } else if (has("image_proj.latents")) {
      out.kind = IpAdapterKind::plus;
      const Shape latents = shape("image_proj.latents");
      if (latents.rank() != 3 || latents[0] != 1)
        fail(ErrorCode::shape_mismatch, "{}: tensor 'image_proj.latents': expected [1, tokens, width], found {}",
             where_, latents.str());
      out.tokens = latents[1];
      out.hidden_dim = latents[2];
      out.image_dim = matrix("image_proj.proj_in.weight")[1];
      const int64_t inner = matrix("image_proj.layers.0.0.to_q.weight")[0];
      if (inner < kHeadSize || inner % kHeadSize != 0)
        fail(ErrorCode::shape_mismatch,
             "{}: tensor 'image_proj.layers.0.0.to_q.weight': expected heads of {}, found {}", where_, kHeadSize,
             inner);
      out.heads = static_cast<int>(inner / kHeadSize);
      out.feed_forward_dim = matrix("image_proj.layers.0.1.1.weight")[0];
      out.depth = 0;
      while (out.depth < kMostLayers && has(fmt::format("image_proj.layers.{}.0.to_q.weight", out.depth))) ++out.depth;
    } else if (has("image_proj.proj.3.weight")) {
      out.kind = IpAdapterKind::full;
      out.tokens = 0;
      out.image_dim = matrix("image_proj.proj.0.weight")[1];
      out.feed_forward_dim = matrix("image_proj.proj.0.weight")[0];
    } else {
      const auto own = std::find_if(files_.names().begin(), files_.names().end(),
                                    [](const std::string& name) { return name.starts_with("image_proj."); });
      fail(ErrorCode::unsupported,
           "{}: expected an IP-Adapter with image_proj.proj.weight (plain), image_proj.latents (plus) or "
           "image_proj.proj.3.weight (full face), found {}",
           where_, own == files_.names().end() ? "no image_proj at all" : "'" + printable(*own) + "'");
    }
    return out;
  }

  std::vector<int64_t> channels(int64_t cross_attention_dim) const {
    std::vector<int64_t> out;
    for (size_t i = 0; i < kMostLayers && has(key_name(i)); ++i) {
      const Shape k = matrix(key_name(i)), v = matrix(value_name(i));
      if (k[1] != cross_attention_dim || !(k == v))
        fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected {} rows of {} as '{}', found {}", where_,
             value_name(i), k[0], cross_attention_dim, key_name(i), k[1] == cross_attention_dim ? v.str() : k.str());
      out.push_back(k[0]);
    }
    const auto matrices = std::count_if(files_.names().begin(), files_.names().end(), [](const std::string& name) {
      return name.starts_with("ip_adapter.") && name.ends_with(".to_k_ip.weight");
    });
    if (matrices != static_cast<ptrdiff_t>(out.size()))
      fail(ErrorCode::io, "{}: tensor '{}' is missing", where_, key_name(out.size()));
    return out;
  }

 private:
  bool has(const std::string& name) const { return files_.find(name) != nullptr; }
  Shape shape(const std::string& name) const {
    const io::TensorInfo* info = files_.find(name);
    if (!info) fail(ErrorCode::io, "{}: tensor '{}' is missing", where_, name);
    return info->shape;
  }
  Shape matrix(const std::string& name) const {
    const Shape out = shape(name);
    if (!is_floating(files_.find(name)->dtype))
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected floating-point values, found {}", where_, name,
           to_string(files_.find(name)->dtype));
    if (out.rank() != 2 || out[0] < 1 || out[1] < 1)
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected a matrix, found {}", where_, name, out.str());
    return out;
  }

  // These see features of a face instead of a picture, and change the UNet's own layers as well.
  void refuse_face_id() const {
    const bool plus = has("image_proj.perceiver_resampler.proj_in.weight");
    const bool lora = std::any_of(files_.names().begin(), files_.names().end(), [](const std::string& name) {
      return name.starts_with("ip_adapter.") && name.find("_lora.") != std::string::npos;
    });
    const bool plain = has("image_proj.norm.weight") && has("image_proj.proj.0.weight");
    if (plus || lora || plain)
      fail(ErrorCode::unsupported,
           "{}: expected an IP-Adapter that sees pictures (plain, plus or full face), found an IP-Adapter FaceID{}: it "
           "needs features of a face recognition network (InsightFace){}, which is not run here",
           where_, plus ? " Plus" : "", lora ? " and a LoRA of its own" : "");
  }

  const io::WeightFiles& files_;
  std::string where_;
};

}  // namespace

std::shared_ptr<const IpAdapterFile> IpAdapterFile::open(const std::string& path) {
  auto out = std::make_shared<IpAdapterFile>();
  const std::string where = printable(path, 400);
  io::WeightFiles files = io::WeightFiles::open(path);
  const auto begins = [&](const char* with) {
    return std::any_of(files.names().begin(), files.names().end(),
                       [&](const std::string& name) { return name.starts_with(with); });
  };
  if (!begins("image_proj.") || !begins("ip_adapter.")) {
    const Identity identity = identify(files);
    if (!begins("image_proj.") && !begins("ip_adapter."))
      fail(ErrorCode::unsupported, "{}: expected an IP-Adapter, found: {}{}", where,
           !identity.parts.empty() ? identity.summary()
                                   : fmt::format("{} tensors of something else, the first '{}'", files.names().size(),
                                                 files.names().empty() ? "" : printable(files.names().front(), 80)),
           option_for(identity));
    fail(ErrorCode::io, "{}: expected tensors of both image_proj and ip_adapter, found {} alone", where,
         begins("image_proj.") ? "image_proj" : "ip_adapter");
  }
  const Reader reader(files);
  out->config_ = reader.config();
  out->channels_ = reader.channels(out->config_.cross_attention_dim);
  out->weights_ = std::make_shared<FileWeights>(files, prefixed_names(""));
  for (const auto& [name, shape] : weights_of({models::ip_adapter_tokens(out->config_, 1)})) {
    const Shape found = out->weights_->outline(name).shape;  // throws where it is missing
    if (!(found == shape))
      fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {}, found {}", where, name, shape.str(),
           found.str());
  }
  out->files_ = std::move(files);
  return out;
}

std::string IpAdapterFile::kind() const {
  switch (config_.kind) {
    case models::IpAdapterKind::plain: return fmt::format("IP-Adapter, {} tokens a picture", config_.tokens);
    case models::IpAdapterKind::plus: return fmt::format("IP-Adapter plus, {} tokens a picture", config_.tokens);
    case models::IpAdapterKind::full: return "IP-Adapter full face, a token for each patch";
  }
  return "?";
}

std::string IpAdapterFile::family() const {
  switch (config_.cross_attention_dim) {
    case 768: return to_string(Family::sd1);
    case 1024: return to_string(Family::sd2);
    case 2048: return to_string(Family::sdxl);
    case 1280: return to_string(Family::sdxl_refiner);
    default: return "";
  }
}

void IpAdapterFile::check(const models::UNet2DConditionConfig& unet, const std::string& family) const {
  const std::vector<models::CrossAttentionLayer> wanted = models::cross_attention_layers(unet);
  const std::string where = printable(path(), 400);
  if (config_.cross_attention_dim != unet.cross_attention_dim || channels_.size() != wanted.size()) {
    const std::string own = this->family();
    fail(ErrorCode::unsupported,
         "{}: expected an IP-Adapter for {} (cross_attention_dim {}, {} attention layers), found one for {} "
         "(cross_attention_dim {}, {} attention layers)",
         where, family, unet.cross_attention_dim, wanted.size(), own.empty() || own == family ? "another model" : own,
         config_.cross_attention_dim, channels_.size());
  }
  for (size_t i = 0; i < wanted.size(); ++i)
    if (channels_[i] != wanted[i].channels)
      fail(ErrorCode::unsupported, "{}: tensor '{}': expected {} rows for the model's {}, found {}", where, key_name(i),
           wanted[i].channels, wanted[i].name, channels_[i]);
}

void IpAdapterFile::add_to(exec::Replacements& replacements, size_t slot,
                           const std::vector<models::CrossAttentionLayer>& layers, const std::string& key) const {
  const auto values = [&](const std::string& name) {
    return graph::Constant::literal(files_.tensor(name), key + ": " + name);
  };
  for (size_t i = 0; i < layers.size(); ++i) {
    replacements[models::ip_adapter_key_weight(slot, layers[i].name)] = values(key_name(i));
    replacements[models::ip_adapter_value_weight(slot, layers[i].name)] = values(value_name(i));
  }
}

void IpAdapterFile::release_pages() const {
  for (size_t i = 0; i < channels_.size(); ++i) {
    files_.release_pages(key_name(i));
    files_.release_pages(value_name(i));
  }
}

}  // namespace easel::pipelines
