#include "pipelines/families.h"

#include <algorithm>

#include "base/fail.h"

namespace easel::pipelines {

namespace {

constexpr const char* kVision = "CLIP image encoder";

// What may stand before a part's own names, longest first.
const std::vector<std::string>& prefixes_of(Part part) {
  static const std::vector<std::string> kDenoiser = {
      "model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "model.", ""};
  static const std::vector<std::string> kVae = {"first_stage_model.", "vae.", ""};
  static const std::vector<std::string> kText = {"cond_stage_model.transformer.text_model.",
                                                 "cond_stage_model.transformer.",
                                                 "conditioner.embedders.0.transformer.text_model.",
                                                 "cond_stage_model.model.",
                                                 "conditioner.embedders.1.model.",
                                                 "conditioner.embedders.0.model.",
                                                 "text_encoders.clip_l.transformer.text_model.",
                                                 "text_encoders.t5xxl.transformer.",
                                                 "text_encoder.text_model.",
                                                 "text_encoder.",
                                                 "text_model.",
                                                 ""};
  static const std::vector<std::string> kOther = {"model.", "params_ema.", "params.", ""};
  switch (part) {
    case Part::denoiser: return kDenoiser;
    case Part::vae: return kVae;
    case Part::text_encoder: return kText;
    default: return kOther;
  }
}

// In each part the first row that matches gives the family; rows of the same tensor go from special to general.
const std::vector<Signature>& table() {
  static const char *kSd1 = "Stable Diffusion 1.x", *kSd2 = "Stable Diffusion 2.x", *kXl = "Stable Diffusion XL",
                    *kRefiner = "Stable Diffusion XL refiner", *kSd3 = "Stable Diffusion 3", *kFlux = "FLUX",
                    *kSvd = "Stable Video Diffusion", *kClipL = "CLIP-L", *kClipH = "OpenCLIP-H",
                    *kClipG = "OpenCLIP-bigG";
  static const std::vector<Signature> kRows = {
      // Adapters first: they borrow the names of what they change.
      {"LoHa", Part::lora, "lycoris", "*.hada_w1_a", {}},
      {"LoKr", Part::lora, "lycoris", "*.lokr_w1*", {}},
      {"OFT", Part::lora, "lycoris", "*.oft_blocks", {}},
      {"OFT", Part::lora, "kohya", "*.oft_diag", {}},
      {"LoRA", Part::lora, "kohya", "*.lora_down.weight", {}},
      {"LoRA", Part::lora, "peft", "*.lora_A.*", {}},
      {"LoRA", Part::lora, "diffusers, early", "*_lora.down.weight", {}},
      {"LoRA", Part::lora, "diffusers, early", "*.lora.down.weight", {}},
      {"LoRA", Part::lora, "diffusers, early", "*.lora_linear_layer.down.weight", {}},
      {"LoRA", Part::lora, "kohya", "*lora_unet_*", {}},  // of a kind not named above
      {"LoRA", Part::lora, "kohya", "*lora_te_*", {}},
      {"LoRA", Part::lora, "kohya", "*lora_te1_*", {}},
      {"ControlNet", Part::control_net, "original", "control_model.input_hint_block.0.weight", {}},
      {"ControlNet", Part::control_net, "original", "input_hint_block.0.weight", {}},
      {"ControlNet", Part::control_net, "diffusers", "controlnet_cond_embedding.conv_in.weight", {}},
      {"ControlNet", Part::control_net, "original", "control_model.input_blocks.0.0.weight", {}},
      {"ControlNet", Part::control_net, "diffusers", "controlnet_blocks.0.weight", {}},
      {"ControlNet LoRA", Part::control_net, "original", "lora_controlnet", {}},
      {"ControlNet-LLLite", Part::control_net, "kohya", "*lllite_*", {}},
      {"T2I adapter", Part::adapter, "original", "body.0.block1.weight", {}},
      {"T2I adapter", Part::adapter, "diffusers", "adapter.body.0.resnets.0.block1.weight", {}},
      {"IP-Adapter FaceID", Part::adapter, "original", "image_proj.perceiver_resampler.proj_in.weight", {}},
      {"IP-Adapter FaceID", Part::adapter, "original", "ip_adapter.0.to_q_lora.down.weight", {}},
      {"IP-Adapter plus", Part::adapter, "original", "image_proj.latents", {}},
      {"IP-Adapter full face", Part::adapter, "original", "image_proj.proj.3.weight", {}},
      {"IP-Adapter", Part::adapter, "original", "image_proj.proj.weight", {}},
      {"IP-Adapter", Part::adapter, "original", "ip_adapter.1.to_k_ip.weight", {}},
      {"AnimateDiff motion module",
       Part::adapter,
       "original",
       "down_blocks.0.motion_modules.0.temporal_transformer.norm.weight",
       {}},
      {kVision, Part::adapter, "transformers", "vision_model.embeddings.class_embedding", {}},
      {kVision, Part::adapter, "OpenCLIP", "visual.class_embedding", {}},
      {"textual inversion", Part::embedding, "A1111", "string_to_param.*", {}},
      {"textual inversion", Part::embedding, "A1111", "emb_params", {}},
      {"textual inversion", Part::embedding, "SDXL", "clip_g", {-1, 1280}},
      {"textual inversion", Part::embedding, "SDXL", "clip_l", {-1, 768}},

      {kSvd, Part::denoiser, "original", "input_blocks.1.0.time_stack.emb_layers.1.weight", {}},
      {kSvd, Part::denoiser, "diffusers", "down_blocks.0.resnets.0.temporal_res_block.conv1.weight", {}},
      {kRefiner, Part::denoiser, "original", "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", {768, 1280}},
      {kRefiner,
       Part::denoiser,
       "diffusers",
       "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
       {768, 1280}},
      {kXl, Part::denoiser, "original", "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight", {-1, 2048}},
      {kXl,
       Part::denoiser,
       "diffusers",
       "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight",
       {-1, 2048}},
      {kSd2, Part::denoiser, "original", "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", {-1, 1024}},
      {kSd2,
       Part::denoiser,
       "diffusers",
       "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
       {-1, 1024}},
      {kSd1, Part::denoiser, "original", "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", {-1, 768}},
      {kSd1,
       Part::denoiser,
       "diffusers",
       "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
       {-1, 768}},
      // The same networks at other sizes: by what they are given beside the text (pooled text and sizes of the
      // picture),
      // then by the form of their projections. The refiner's sizes are five.
      {kRefiner, Part::denoiser, "original", "label_emb.0.0.weight", {-1, 2560}, true},
      {kRefiner, Part::denoiser, "diffusers", "add_embedding.linear_1.weight", {-1, 2560}, true},
      {kXl, Part::denoiser, "original", "label_emb.0.0.weight", {-1, -1}, true},
      {kXl, Part::denoiser, "diffusers", "add_embedding.linear_1.weight", {-1, -1}, true},
      {kSd2, Part::denoiser, "original", "input_blocks.1.1.proj_in.weight", {-1, -1}, true},
      {kSd2, Part::denoiser, "diffusers", "down_blocks.0.attentions.0.proj_in.weight", {-1, -1}, true},
      {kSd1, Part::denoiser, "original", "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", {-1, -1}, true},
      {kSd1,
       Part::denoiser,
       "diffusers",
       "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
       {-1, -1},
       true},
      {kSd3, Part::denoiser, "original", "joint_blocks.0.context_block.adaLN_modulation.1.weight", {}},
      {kSd3, Part::denoiser, "diffusers", "pos_embed.proj.weight", {-1, 16, 2, 2}},
      {kFlux, Part::denoiser, "original", "double_blocks.0.img_attn.norm.key_norm.scale", {}},
      {kFlux, Part::denoiser, "diffusers", "single_transformer_blocks.0.proj_mlp.weight", {}},
      {"HunyuanVideo", Part::denoiser, "original", "double_blocks.0.img_attn_q_norm.weight", {}},
      {"HunyuanDiT", Part::denoiser, "original", "blocks.0.default_modulation.1.weight", {}},
      {"Wan", Part::denoiser, "original", "blocks.0.self_attn.norm_k.weight", {}},
      {"Wan", Part::denoiser, "diffusers", "blocks.0.attn1.norm_added_k.weight", {}},
      {"Wan", Part::denoiser, "diffusers", "condition_embedder.time_proj.weight", {}},
      {"CogVideoX", Part::denoiser, "diffusers", "transformer_blocks.0.attn1.norm_k.weight", {64}},

      {"AutoencoderKL", Part::vae, "original", "decoder.mid.block_1.conv1.weight", {-1, -1, 3, 3}},
      {"AutoencoderKL", Part::vae, "diffusers", "decoder.mid_block.resnets.0.conv1.weight", {-1, -1, 3, 3}},
      {"TAESD", Part::vae, "diffusers", "decoder.layers.0.weight", {}},
      {"TAESD", Part::vae, "diffusers", "encoder.layers.0.weight", {}},
      {"TAESD", Part::vae, "ComfyUI", "taesd_decoder.1.weight", {-1, -1, 3, 3}},
      {"TAESD", Part::vae, "original decoder", "3.conv.0.weight", {-1, -1, 3, 3}},
      {"TAESD", Part::vae, "original encoder", "1.conv.0.weight", {-1, -1, 3, 3}},
      {"video VAE", Part::vae, "original", "decoder.middle.0.residual.2.weight", {}},
      {"video VAE", Part::vae, "diffusers", "decoder.mid_block.resnets.0.conv1.conv.weight", {}},

      {kClipL, Part::text_encoder, "transformers", "embeddings.token_embedding.weight", {-1, 768}},
      {kClipH, Part::text_encoder, "transformers", "embeddings.token_embedding.weight", {-1, 1024}},
      {kClipG, Part::text_encoder, "transformers", "embeddings.token_embedding.weight", {-1, 1280}},
      {"CLIP", Part::text_encoder, "transformers", "embeddings.token_embedding.weight", {-1, -1}},
      {kClipH, Part::text_encoder, "open_clip", "token_embedding.weight", {-1, 1024}},
      {kClipG, Part::text_encoder, "open_clip", "token_embedding.weight", {-1, 1280}},
      {"OpenCLIP", Part::text_encoder, "open_clip", "token_embedding.weight", {-1, -1}},
      {"T5", Part::text_encoder, "transformers", "encoder.block.0.layer.0.SelfAttention.q.weight", {}},

      {"ESRGAN", Part::upscaler, "original", "1.sub.0.RDB1.conv1.0.weight", {}},
      {"ESRGAN", Part::upscaler, "ESRGAN", "RRDB_trunk.0.RDB1.conv1.weight", {}},
      {"ESRGAN", Part::upscaler, "BasicSR", "body.0.rdb1.conv1.weight", {}},
      {"Real-ESRGAN compact", Part::upscaler, "BasicSR", "body.0.weight", {-1, 3, 3, 3}},
      {"other upscaler", Part::upscaler, "BasicSR", "conv_first.weight", {}},
  };
  return kRows;
}

bool is_image_prompt(const Match& match) { return std::string_view(match.row->family).starts_with("IP-Adapter"); }

bool fits(const Shape& found, const std::vector<int64_t>& wanted) {
  if (wanted.empty()) return true;
  if (found.rank() != static_cast<int>(wanted.size())) return false;
  for (size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i] >= 0 && found[static_cast<int>(i)] != wanted[i]) return false;
  return true;
}

std::optional<Match> match(const io::WeightFiles& files, const Signature& row) {
  const std::string_view name = row.tensor;
  if (name.starts_with('*')) {
    const bool inside = name.ends_with('*');
    const std::string_view part = name.substr(1, name.size() - (inside ? 2 : 1));
    for (const std::string& candidate : files.names())
      if (inside ? candidate.find(part) != std::string::npos : candidate.ends_with(part))
        return Match{&row, candidate, "", files.find(candidate)->shape};
    return std::nullopt;
  }
  for (const std::string& prefix : prefixes_of(row.part))
    if (const io::TensorInfo* info = files.find(prefix + row.tensor); info && fits(info->shape, row.shape))
      return Match{&row, prefix + row.tensor, prefix, info->shape};
  return std::nullopt;
}

// diffusers saves a textual inversion as one tensor under its token: vectors of a text encoder's width.
std::optional<Match> lone_embedding(const io::WeightFiles& files) {
  static const Signature kRow = {"textual inversion", Part::embedding, "diffusers", "", {}};
  if (files.names().size() != 1) return std::nullopt;
  const io::TensorInfo& info = *files.find(files.names().front());
  const int rank = info.shape.rank();
  const auto wide = [&] { return info.shape.back() == 768 || info.shape.back() == 1024 || info.shape.back() == 1280; };
  if ((rank != 1 && rank != 2) || !wide() || (rank == 2 && info.shape[0] > 75)) return std::nullopt;
  return Match{&kRow, info.name, "", info.shape};
}

std::string metadata_value(const io::WeightFiles& files, const char* key) {
  for (const io::TensorFile& file : files.files())
    if (const auto found = file.metadata().find(key); found != file.metadata().end()) return found->second;
  return "";
}

// What the network predicts is not in its weights; files say it in one of several ways, or not at all.
void find_prediction_type(const io::WeightFiles& files, Identity& out) {
  const Match* denoiser = out.find(Part::denoiser);
  if (!denoiser) return;
  const std::string family = denoiser->row->family;
  const auto set = [&](const char* type, const std::string& reason) {
    out.prediction_type = type;
    out.prediction_reason = reason;
  };
  const std::string declared = metadata_value(files, "modelspec.prediction_type");
  if (files.find("v_pred")) return set("v_prediction", "the file has a tensor 'v_pred'");
  if (declared == "v" || declared == "epsilon")
    return set(declared == "v" ? "v_prediction" : "epsilon", "metadata modelspec.prediction_type");
  if (family == "Stable Diffusion 3" || family == "FLUX" || family == "Wan" || family == "HunyuanVideo")
    return set("flow", "as every model of the family");
  if (family == "Stable Video Diffusion") return set("v_prediction", "as every model of the family");
  if (family == "Stable Diffusion 2.x") {
    // The base model was published after 875000 steps of training; the others predict v.
    if (metadata_value(files, "global_step") == "875000" || out.in_channels == 9)
      return set("epsilon",
                 out.in_channels == 9 ? "as the published inpainting model" : "global_step 875000: the base model");
    return set("v_prediction", "assumed: as the published 768-pixel models; the file does not say");
  }
  set("epsilon", "assumed: as the published models; the file does not say");
}

}  // namespace

const char* to_string(Part part) noexcept {
  switch (part) {
    case Part::denoiser: return "UNet or transformer";
    case Part::vae: return "VAE";
    case Part::text_encoder: return "text encoder";
    case Part::lora: return "LoRA";
    case Part::control_net: return "ControlNet";
    case Part::adapter: return "adapter";
    case Part::embedding: return "embedding";
    case Part::upscaler: return "upscaler";
  }
  return "?";
}

const Match* Identity::find(Part part) const {
  for (const Match& match : parts)
    if (match.row->part == part) return &match;
  return nullptr;
}

std::string Identity::summary() const {
  for (const Part part : {Part::lora, Part::control_net, Part::adapter, Part::embedding})
    if (const Match* match = find(part)) {
      const std::string family = match->row->family, kind = to_string(part);
      const bool says = family.find(kind) != std::string::npos || is_image_prompt(*match) || family == kVision;
      return says ? family : family + " (" + kind + ")";
    }
  const Match *denoiser = find(Part::denoiser), *vae = find(Part::vae), *text = find(Part::text_encoder);
  if (denoiser) {
    std::string out = denoiser->row->family;
    if (in_channels == 9) out += ", inpainting";
    if (in_channels == 8 && out != "Stable Video Diffusion") out += ", instruct-pix2pix";
    if (vae && text) return out + ", whole checkpoint";
    out += ", UNet or transformer";
    if (vae) out += " and VAE";
    if (text) out += " and text encoder";
    return out;
  }
  if (vae) return fmt::format("VAE ({}){}", vae->row->family, text ? " and text encoder" : "");
  if (text) return fmt::format("text encoder ({})", text->row->family);
  if (const Match* match = find(Part::upscaler)) return fmt::format("upscaler ({})", match->row->family);
  return "unknown";
}

std::string Identity::evidence() const {
  std::string out;
  for (const Match& match : parts)
    out += fmt::format("{}{} of {} ({} names): tensor '{}' is {}", out.empty() ? "" : "; ", to_string(match.row->part),
                       match.row->family, match.row->layout, printable(match.tensor), match.shape.str());
  return out.empty() ? "no row of the table of families matches" : out;
}

Identity identify(const io::WeightFiles& files) {
  Identity out;
  for (const Signature& row : table()) {
    const bool known = std::any_of(out.parts.begin(), out.parts.end(), [&](const Match& m) {
      // A tensor speaks for the first row that it fits; another family's own tensor is news.
      return m.row->part == row.part &&
             (row.general || std::string(m.row->family) == row.family || std::string(m.row->tensor) == row.tensor);
    });
    if (known) continue;
    std::optional<Match> found = match(files, row);
    if (!found) continue;
    // What was told apart by a tensor at another level is the same network.
    const bool same = std::any_of(out.parts.begin(), out.parts.end(), [&](const Match& m) {
      return m.row->part == row.part && m.row->part != Part::denoiser && m.prefix == found->prefix;
    });
    if (!same) out.parts.push_back(std::move(*found));
  }
  // The video model contains the picture model's names.
  const Match* svd = out.find(Part::denoiser);
  if (svd && svd->row->family == std::string("Stable Video Diffusion"))
    std::erase_if(out.parts, [family = svd->row->family](const Match& m) {
      return m.row->part == Part::denoiser && std::string(m.row->family) != family;
    });
  // Of small models the sizes say nothing: the refiner is the one with OpenCLIP's encoder alone.
  const auto is_text = [](const Match& m) { return m.row->part == Part::text_encoder; };
  const Match* text = out.find(Part::text_encoder);
  if (text && text->prefix == "conditioner.embedders.0.model." && std::ranges::count_if(out.parts, is_text) == 1)
    for (Match& m : out.parts)
      for (const Signature& row : table())
        if (m.row->part == Part::denoiser && m.row->general && row.general &&
            std::string(row.family) == "Stable Diffusion XL refiner" && std::string(row.tensor) == m.row->tensor)
          m.row = &row;
  const bool adapter = out.find(Part::lora) || out.find(Part::control_net) || out.find(Part::adapter);
  // FaceID's file holds a LoRA as well.
  if (std::ranges::any_of(out.parts, is_image_prompt))
    std::erase_if(out.parts, [](const Match& m) { return m.row->part == Part::lora; });
  // A whole CLIP has two towers, and gives its text encoder.
  if (out.parts.size() > 1)
    std::erase_if(out.parts, [](const Match& m) { return m.row->family == std::string(kVision); });
  if (out.parts.empty())
    if (std::optional<Match> embedding = lone_embedding(files)) out.parts.push_back(*std::move(embedding));
  // An upscaler's names are short: they count only where nothing else is there.
  if (out.parts.size() > 1) std::erase_if(out.parts, [](const Match& m) { return m.row->part == Part::upscaler; });
  if (const Match* denoiser = out.find(Part::denoiser); denoiser && !adapter) {
    for (const char* name : {"input_blocks.0.0.weight", "conv_in.weight"})
      if (const io::TensorInfo* info = files.find(denoiser->prefix + name); info && info->shape.rank() == 4)
        out.in_channels = info->shape[1];
    find_prediction_type(files, out);
  }
  return out;
}

std::string option_for(const Identity& identity) {
  if (const Match* adapter = identity.find(Part::adapter)) {
    if (is_image_prompt(*adapter)) return "; --ip-adapter takes it";
    if (adapter->row->family == std::string(kVision)) return "; --image-encoder takes it";
  }
  if (identity.find(Part::upscaler)) return "; easel upscale takes it";
  if (identity.find(Part::embedding)) return "; it goes with another model; --embedding takes it";
  if (identity.find(Part::adapter)) return "; it goes with another model";
  if (identity.find(Part::control_net)) return "; it steers another model and is none itself";
  if (identity.find(Part::lora)) return "; it changes another model and is none itself; --lora takes it";
  if (identity.find(Part::denoiser)) return "; --model or --unet takes it";
  if (identity.find(Part::vae)) return "; --vae takes it";
  if (const Match* text = identity.find(Part::text_encoder)) {
    const std::string family = text->row->family;
    return family == "T5"              ? "; none of the models that are run has it"
           : family == "OpenCLIP-bigG" ? "; --text-encoder-2 takes it"
                                       : "; --text-encoder takes it";
  }
  return "";
}

void expect_part(const io::WeightFiles& files, Part wanted, const std::string& where) {
  const Identity identity = identify(files);
  const bool adapter = identity.find(Part::lora) || identity.find(Part::control_net) || identity.find(Part::adapter) ||
                       identity.find(Part::embedding);
  if (identity.find(wanted) && !adapter) return;
  const std::string summary = identity.summary();
  const char* article = wanted == Part::upscaler ? "an" : "a";
  if (files.names().empty())
    fail(ErrorCode::io, "{}: expected {} {}, found no tensors", where, article, to_string(wanted));
  if (summary == "unknown")
    fail(ErrorCode::unsupported, "{}: expected {} {}, found {} tensors of an unknown model, the first '{}'", where,
         article, to_string(wanted), files.names().size(),
         files.names().empty() ? "" : printable(files.names().front(), 80));
  fail(ErrorCode::unsupported, "{}: expected {} {}, found: {}{}", where, article, to_string(wanted), summary,
       option_for(identity));
}

void expect_one_family(const io::WeightFiles& files, bool own_text_encoder, const std::string& where) {
  const Identity identity = identify(files);
  const Match* first = nullptr;
  for (const Match& match : identity.parts) {
    if (match.row->part != Part::denoiser) continue;
    if (first)
      fail(ErrorCode::unsupported, "{}: expected one model, found two mixed: {} (tensor '{}') and {} (tensor '{}')",
           where, first->row->family, printable(first->tensor), match.row->family, printable(match.tensor));
    first = &match;
  }
  const Match* text = identity.find(Part::text_encoder);
  if (!first || !text || !own_text_encoder) return;
  // Which encoder each family was trained with.
  static const std::pair<const char*, const char*> kEncoders[] = {{"Stable Diffusion 1.x", "OpenCLIP-H"},
                                                                  {"Stable Diffusion 1.x", "OpenCLIP-bigG"},
                                                                  {"Stable Diffusion 1.x", "T5"},
                                                                  {"Stable Diffusion 2.x", "CLIP-L"},
                                                                  {"Stable Diffusion 2.x", "OpenCLIP-bigG"},
                                                                  {"Stable Diffusion 2.x", "T5"}};
  for (const auto& [family, encoder] : kEncoders)
    if (first->row->family == std::string(family) && text->row->family == std::string(encoder) &&
        first->shape.back() != text->shape.back())
      fail(ErrorCode::unsupported,
           "{}: expected the parts of one family, found the UNet of {} (attention to {} features, tensor '{}') and the "
           "text encoder {} ({} features, tensor '{}'); another can be given with --text-encoder FILE",
           where, family, first->shape.back(), printable(first->tensor), encoder, text->shape.back(),
           printable(text->tensor));
}

}  // namespace easel::pipelines
