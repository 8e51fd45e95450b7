#include "pipelines/model_files.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/fail.h"

namespace easel::pipelines {

FileWeights::FileWeights(io::WeightFiles files, NameCandidates candidates)
    : files_(std::move(files)), candidates_(std::move(candidates)) {}

std::optional<StoredName> FileWeights::stored(const std::string& name) const {
  for (StoredName& candidate : candidates_(name))
    if (files_.find(candidate.name)) return std::move(candidate);
  return std::nullopt;
}

StoredName FileWeights::find(const std::string& name) const {
  if (std::optional<StoredName> found = stored(name)) return *std::move(found);
  fail(ErrorCode::io, "{}: tensor '{}' is missing", files_.path(), candidates_(name).front().name);
}

namespace {

int64_t rows_of_part(const StoredName& stored, const Shape& shape, const std::string& where) {
  if ((stored.of > 1 && (shape.rank() < 1 || shape[0] % stored.of != 0)) || (stored.transposed && shape.rank() != 2))
    fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected {}, found shape {}", where, stored.name,
         stored.transposed ? "a matrix" : fmt::format("{} equal parts", stored.of), shape.str());
  return stored.of > 1 ? shape[0] / stored.of : 0;
}

Tensor transposed_copy(const Tensor& matrix) {
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1), size = size_of(matrix.dtype());
  const Tensor out = Tensor::empty(matrix.dtype(), {columns, rows});
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t k = 0; k < columns; ++k)
      std::memcpy(out.raw() + (k * rows + i) * size, matrix.raw() + (i * columns + k) * size,
                  static_cast<size_t>(size));
  return out;
}

}  // namespace

Tensor FileWeights::load(const std::string& name) const {
  const StoredName stored = find(name);
  const Tensor whole = files_.tensor(stored.name);
  const int64_t rows = rows_of_part(stored, whole.shape(), files_.path());
  if (stored.transposed) return transposed_copy(whole);
  return rows ? whole.rows(stored.part * rows, (stored.part + 1) * rows) : whole;
}

exec::WeightSource::Outline FileWeights::outline(const std::string& name) const {
  const StoredName stored = find(name);
  const io::TensorInfo& info = *files_.find(stored.name);
  Shape shape = info.shape;
  const int64_t rows = rows_of_part(stored, shape, files_.path());
  if (stored.transposed) shape = {shape[1], shape[0]};
  if (rows) shape[0] = rows;
  const bool as_it_stands = info.strides.empty() && !info.scaled() && !stored.transposed;
  const BlockFormat encoding = info.packed() ? info.format : element_format(info.dtype);
  return {info.scaled() ? DType::f32 : info.dtype, shape, as_it_stands ? encoding : BlockFormat::none};
}

Tensor FileWeights::blocks(const std::string& name) const {
  const StoredName stored = find(name);
  const io::TensorInfo& info = *files_.find(stored.name);
  const Tensor whole = files_.holder(stored.name).stored(info);
  if (stored.of == 1) return whole;
  const int64_t part = whole.bytes() / stored.of;  // whole rows: see outline()
  return whole.rows(stored.part * part, (stored.part + 1) * part);
}

void FileWeights::release(const std::string& name) const {
  const std::optional<StoredName> found = stored(name);
  if (!found) return;
  if (found->of == 1) return files_.release_pages(found->name);
  const io::TensorFile& file = files_.holder(found->name);
  const io::TensorInfo& info = *file.find(found->name);
  const int64_t count = info.shape.numel() / found->of;
  if (!info.packed()) file.release_pages(info, found->part * count, count);
}

const char* to_string(Family family) noexcept {
  switch (family) {
    case Family::sd1: return "Stable Diffusion 1.x";
    case Family::sd2: return "Stable Diffusion 2.x";
    case Family::sdxl: return "Stable Diffusion XL";
    case Family::sdxl_refiner: return "Stable Diffusion XL refiner";
  }
  return "?";
}

Family family_of(const models::UNet2DConditionConfig& unet) {
  if (unet.addition_embed_type == models::AddedEmbedding::text_time)
    return unet.time_ids() == 5 ? Family::sdxl_refiner : Family::sdxl;
  return unet.use_linear_projection ? Family::sd2 : Family::sd1;
}

UNetInput unet_input(int64_t in_channels, int64_t latent_channels) {
  if (in_channels == 2 * latent_channels + 1) return UNetInput::inpainting;
  return in_channels == 2 * latent_channels ? UNetInput::instruct_pix2pix : UNetInput::latents;
}

std::string ModelFiles::family_name() const {
  const UNetInput input = unet_input(unet.in_channels, vae.latent_channels);
  return std::string(to_string(family)) + (input == UNetInput::inpainting         ? ", inpainting"
                                           : input == UNetInput::instruct_pix2pix ? ", instruct-pix2pix"
                                                                                  : "");
}

double family_scaling_factor(Family family) { return is_xl(family) ? 0.13025 : 0.18215; }

void fit_parts(ModelFiles& files, bool unet_configured) {
  const std::string where = printable(files.path, 400);
  models::UNet2DConditionConfig& unet = files.unet;
  int64_t width = 0, pooled = 0;
  std::string widths;
  for (const TextEncoderFiles& encoder : files.text_encoders) {
    width += encoder.config.hidden_size;
    pooled = encoder.config.projection_dim;
    widths += fmt::format("{}{}", widths.empty() ? "" : " + ", encoder.config.hidden_size);
  }
  if (unet.cross_attention_dim != width)
    fail(ErrorCode::shape_mismatch,
         "{}: the UNet's cross_attention_dim is {} and the text encoder's hidden_size is {}; expected equal sizes",
         where, unet.cross_attention_dim, widths);
  const int64_t in = unet.in_channels, latent = files.vae.latent_channels;
  if (unet.out_channels != latent || (in != latent && in != 2 * latent && in != 2 * latent + 1))
    fail(ErrorCode::unsupported,
         "{}: expected a UNet of {} latent channels in and out (or {} or {} in), found {} and {}", where, latent,
         2 * latent, 2 * latent + 1, in, unet.out_channels);
  if (unet.class_embed_type != models::ClassEmbedding::none)
    fail(ErrorCode::unsupported, "{}: UNets with class embeddings are not available yet", where);
  if (unet.addition_embed_type == models::AddedEmbedding::none) return;
  const int64_t rest = unet.projection_class_embeddings_input_dim - pooled;
  // The tensors say the product alone. Whoever has both text encoders is told of sizes, the refiner of a score.
  if (!unet_configured)
    unet.addition_time_embed_dim = static_cast<int>(rest / (files.text_encoders.size() > 1 ? 6 : 5));
  if (unet.addition_time_embed_dim < 1) unet.addition_time_embed_dim = 1;
  const int64_t ids = rest / unet.addition_time_embed_dim;
  if (pooled == 0 || rest % unet.addition_time_embed_dim != 0 || (ids != 5 && ids != 6))
    fail(ErrorCode::shape_mismatch,
         "{}: the UNet's added embedding takes {} features; expected the pooled text of {} and 5 or 6 times {}", where,
         unet.projection_class_embeddings_input_dim, pooled, unet.addition_time_embed_dim);
  unet.pooled_dim = pooled;
}

ModelFiles read_model(const std::string& path, const ComponentPaths& replaced, bool weights_required) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    fail(ErrorCode::io, "{}: expected a model folder or file, found nothing", printable(path, 400));
  ModelFiles files = fs::is_directory(status) ? read_diffusers_folder(path, replaced, weights_required)
                                              : read_single_file(path, replaced);
  // What is given for a place that the model does not have would be left out in silence.
  const auto expect_place = [&](const char* name, const std::string& other, const char* option) {
    const auto is_it = [&](const TextEncoderFiles& encoder) { return encoder.name == name; };
    if (!other.empty() && std::ranges::none_of(files.text_encoders, is_it))
      fail(ErrorCode::invalid_argument, "{} {}: expected a model with a {}, found {}, whose encoder is its {}", option,
           printable(other, 400), name, files.family_name(), files.text_encoders.front().name);
  };
  expect_place("text_encoder", replaced.text_encoder, "--text-encoder");
  expect_place("text_encoder_2", replaced.text_encoder_2, "--text-encoder-2");
  return files;
}

}  // namespace easel::pipelines
