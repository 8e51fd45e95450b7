#include <easel/convert.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/fail.h"
#include "io/atomic_file.h"
#include "io/gguf.h"
#include "pipelines/merged_tensors.h"
#include "pipelines/model_folder.h"
#include "pipelines/model_tensors.h"
#include "pipelines/tensor_recipe.h"

namespace easel::pipelines {

namespace fs = std::filesystem;

namespace {

enum class Target { safetensors, gguf, folder };

/// Removes what was begun unless it was kept.
class Cleanup {
 public:
  explicit Cleanup(std::vector<std::string> paths = {}) : paths_(std::move(paths)) {}
  ~Cleanup() {
    std::error_code ignored;
    for (const std::string& path : paths_) fs::remove_all(path, ignored);
  }
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;
  void add(const std::string& path) { paths_.push_back(path); }
  void keep() { paths_.clear(); }

 private:
  std::vector<std::string> paths_;
};

class Converter {
 public:
  explicit Converter(const ConvertOptions& options) : options_(options) {
    if (!options.dtype.empty()) encoding_ = parse_encoding("--dtype", options.dtype);
    const std::string& part = options.component;
    if (!part.empty() && part != "unet" && part != "vae" && part != "text_encoder" && part != "text_encoder_2")
      fail(ErrorCode::invalid_argument, "--component: expected unet, vae, text_encoder or text_encoder_2, found \"{}\"",
           printable(part, 40));
  }

  ConvertResult run() {
    choose_target();
    for (size_t i = 0; i < options_.inputs.size(); ++i)
      models_.push_back(std::make_unique<ModelTensors>(options_.inputs[i], i == 0 ? options_.vae : ""));
    choose_names();
    merged_ = std::make_unique<MergedTensors>(first(), options_.loras, options_.warn);
    if (target_ == Target::folder)
      write_folder();
    else
      write_single();
    return std::move(result_);
  }

 private:
  const ModelTensors& first() const { return *models_.front(); }

  // ---- what is asked for ---------------------------------------------------------------------------------------

  void choose_target() {
    const fs::path out = options_.output;
    const std::string extension = out.extension(), shown = printable(options_.output, 400);
    target_ = extension == ".safetensors" ? Target::safetensors : extension == ".gguf" ? Target::gguf : Target::folder;
    for (const char* other : {".ckpt", ".pt", ".pth", ".bin", ".json"})
      if (extension == other)
        fail(ErrorCode::invalid_argument, "OUTPUT {}: expected a .safetensors or .gguf file or a folder, found {}",
             shown, other);
    std::error_code error;
    if (fs::exists(out, error) &&
        !(target_ == Target::folder && fs::is_directory(out, error) && fs::is_empty(out, error)))
      fail(ErrorCode::io, "OUTPUT {}: expected a new name, found something there", shown);
    if (encoding_ && encoding_->format != BlockFormat::none && target_ != Target::gguf)
      fail(ErrorCode::invalid_argument, "--dtype {}: expected a .gguf output for packed tensors, found {}",
           encoding_->name(), shown);
    if (options_.max_shard_bytes && target_ == Target::gguf)
      fail(ErrorCode::invalid_argument, "--max-shard-size: expected safetensors, found {}", shown);
    if (target_ == Target::folder && !options_.component.empty())
      fail(ErrorCode::invalid_argument, "--component: expected a file as output, found the folder {}", shown);
  }

  void choose_names() {
    names_ = options_.names;
    if (target_ == Target::folder) {
      if (names_ == TensorNames::original)
        fail(ErrorCode::invalid_argument, "--names original: expected a file as output, found a folder");
      names_ = TensorNames::diffusers;
    }
    // The components of a folder have the same names; in one file only the original layout tells them apart.
    if (names_ == TensorNames::keep && first().folder())
      names_ = options_.component.empty() ? TensorNames::original : TensorNames::diffusers;
    if (names_ == TensorNames::diffusers && target_ != Target::folder && options_.component.empty())
      fail(ErrorCode::invalid_argument,
           "--names diffusers: expected a folder as output, or one part with --component unet, vae, text_encoder or "
           "text_encoder_2");
    if (!options_.component.empty() && !first().has_component(options_.component))
      fail(ErrorCode::io, "{}: expected a {} to take out, found none", printable(first().path(), 400),
           options_.component);
    if (target_ == Target::folder)
      for (const std::string& part : first().components_of_family())
        if (!first().has_component(part))
          fail(ErrorCode::io, "{}: expected a whole {} model for a folder, found no {}{}",
               printable(first().path(), 400), to_string(first().family), part,
               part == "vae" ? "; --vae FILE supplies one" : "");
    for (const auto& model : models_)
      for (const std::string& part : first().components())
        if (!first().replaced.contains(part) && !model->has_component(part) && wanted(part))
          fail(ErrorCode::io, "{}: expected a {} to merge, found none", printable(model->path(), 400), part);
  }

  bool wanted(const std::string& component) const {
    return options_.component.empty() || options_.component == component;
  }

  // ---- one tensor ----------------------------------------------------------------------------------------------

  /// Where the weights of a component go.
  NameCandidates target_names(const std::string& component) const {
    if (names_ == TensorNames::diffusers) return prefixed_names("");
    if (names_ == TensorNames::keep && !first().replaced.contains(component))
      return [this, component](const std::string& name) {
        return std::vector<StoredName>{first().find(component, name)->stored};
      };
    const bool part = !options_.component.empty();  // a part by itself goes without the prefix of the whole
    if (component == "unet") return ldm_unet_names(*first().unet, part ? "" : kLdmUNet);
    if (component == "vae") return ldm_vae_names(*first().vae, part ? "" : kLdmVae);
    if (!part) return ldm_text_names(first().family, component);
    return first().family == Family::sd1 || component == "text_encoder" ? prefixed_names("text_model.")
                                                                        : open_clip_names("");
  }

  /// The recipe of a tensor of the new file that is made of these weights of a component.
  Recipe recipe_for(const std::string& component, const TensorLayout& layout) const {
    const ModelTensor& tensor = *first().find(component, layout.weights.front());
    Recipe out;
    out.name = layout.name;
    out.shape = layout.shape;
    // Some files have matrices as 1×1 convolutions: what keeps its name keeps its shape.
    if (names_ == TensorNames::keep && tensor.stored.name == layout.name) out.shape = tensor.info->shape;
    out.terms.push_back(term_of(first(), component, layout, 1));
    if (models_.size() > 1 && is_floating(tensor.info->dtype) && !first().replaced.contains(component)) {
      out.terms.front().weight = options_.weights.front();
      for (size_t i = 1; i < models_.size(); ++i)
        out.terms.push_back(term_of(*models_[i], component, layout, options_.weights[i]));
    }
    merged_->apply(first(), component, layout, out);
    choose_encoding(tensor, out);
    return out;
  }

  Recipe::Term term_of(const ModelTensors& model, const std::string& component, const TensorLayout& layout,
                       double weight) const {
    Recipe::Term out{{}, weight};
    for (const std::string& name : layout.weights) {
      const ModelTensor& own = *first().find(component, name);
      const ModelTensor* tensor = model.find(component, name);
      const std::string where = printable(model.path(), 400);
      if (!tensor)
        fail(ErrorCode::io, "{}: expected a tensor '{}' to merge, found none", where, printable(own.info->name));
      if (!(tensor->shape == own.shape))
        fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {} as in {}, found {}", where,
             printable(tensor->info->name), own.shape.str(), printable(first().path(), 400), tensor->shape.str());
      const int64_t count = tensor->shape.numel();
      out.sources.push_back({tensor->file, tensor->info, tensor->stored.part * count, count,
                             tensor->stored.transposed != layout.transposed});
    }
    // Parts that lie side by side in a file as they are to lie in the new one are one range of it.
    for (size_t i = out.sources.size(); i-- > 1;) {
      Recipe::Source &before = out.sources[i - 1], &after = out.sources[i];
      if (before.info != after.info || before.begin + before.count != after.begin) continue;
      before.count += after.count;
      out.sources.erase(out.sources.begin() + static_cast<ptrdiff_t>(i));
    }
    return out;
  }

  /// A tensor that belongs to no component, under its own name.
  Recipe recipe_for(const ModelTensor& tensor) const {
    Recipe out;
    out.name = tensor.info->name;
    out.shape = tensor.info->shape;
    const auto term = [](const ModelTensor& of, double weight) {
      return Recipe::Term{{{of.file, of.info, 0, of.info->shape.numel(), false}}, weight};
    };
    out.terms.push_back(term(tensor, 1));
    // Beside a model whose parts are known stand things like training schedules, which are no weights.
    if (models_.size() > 1 && is_floating(tensor.info->dtype) && !first().unet) {
      out.terms.front().weight = options_.weights.front();
      for (size_t i = 1; i < models_.size(); ++i) {
        const ModelTensor* other = models_[i]->find("", tensor.name);
        const std::string where = printable(models_[i]->path(), 400);
        if (!other)
          fail(ErrorCode::io, "{}: expected a tensor '{}' to merge, found none", where, printable(tensor.info->name));
        if (!(other->shape == tensor.shape))
          fail(ErrorCode::shape_mismatch, "{}: tensor '{}': expected shape {} as in {}, found {}", where,
               printable(other->info->name), tensor.info->shape.str(), printable(first().path(), 400),
               other->info->shape.str());
        out.terms.push_back(term(*other, options_.weights[i]));
      }
    }
    choose_encoding(tensor, out);
    return out;
  }

  // What packing would harm most: the ends of the networks, and the VAE, whose errors are seen directly.
  static bool sensitive(const ModelTensor& tensor) {
    if (tensor.component == "vae") return true;
    for (const char* name : {"conv_in.", "conv_out.", "time_embedding.", "add_embedding.", "embeddings."})
      if (tensor.name.starts_with(name)) return true;
    if (!tensor.component.empty()) return false;
    // The same in the original names of models that are only passed through.
    for (const char* name : {"first_stage_model.", "input_blocks.0.0.", ".out.2.", "time_embed.", "label_emb.",
                             "token_embedding.", "positional_embedding", "img_in.", "txt_in.", "time_in.", "vector_in.",
                             "guidance_in.", "final_layer.", "x_embedder.", "t_embedder.", "y_embedder.", "pos_embed"})
      if (tensor.name.find(name) != std::string::npos) return true;
    return false;
  }

  void choose_encoding(const ModelTensor& tensor, Recipe& out) const {
    out.stored_shape = out.shape;
    out.encoding = {tensor.info->dtype, tensor.info->format};
    if (!is_floating(tensor.info->dtype)) return;
    const bool fp8 = out.encoding.dtype == DType::f8_e4m3 || out.encoding.dtype == DType::f8_e5m2;
    if (!encoding_) {
      if (tensor.info->scaled()) {
        out.encoding.dtype = fp8 ? DType::f16 : out.encoding.dtype;  // the new layouts have no scales
      } else if (target_ != Target::gguf) {
        out.encoding.format = BlockFormat::none;  // decoded: f32
      } else if (fp8) {
        out.encoding.dtype = DType::f16;  // holds every fp8 number
      } else if (tensor.info->packed() &&
                 (out.shape.empty() || out.shape.back() % block_elements(tensor.info->format) != 0)) {
        cut_rows(out);
      }
      return;
    }
    out.encoding = *encoding_;
    const bool small_float = out.encoding.dtype == DType::f8_e4m3 || out.encoding.dtype == DType::f8_e5m2;
    if (small_float && out.shape.rank() < 2) out.encoding.dtype = DType::f16;  // norms and biases
    if (out.encoding.format == BlockFormat::none) return;
    if (out.shape.rank() < 2) {
      out.encoding = {DType::f32, BlockFormat::none};
    } else if (sensitive(tensor)) {
      out.encoding = {DType::f16, BlockFormat::none};
    } else if (out.shape.back() % block_elements(out.encoding.format) != 0) {
      cut_rows(out);
    }
  }

  // Kernels of convolutions have rows of three: they are cut anew into rows of whole blocks.
  static void cut_rows(Recipe& out) {
    constexpr int64_t kRow = 256;
    const int64_t count = out.shape.numel(), block = block_elements(out.encoding.format);
    const int64_t row = count % kRow == 0 ? kRow : block;
    if (count == 0 || count % row != 0)
      out.encoding = {DType::f16, BlockFormat::none};
    else
      out.stored_shape = {count / row, row};
  }

  // ---- files ---------------------------------------------------------------------------------------------------

  /// Recipes of a component, or of everything where empty, in the order of the file.
  std::vector<Recipe> recipes(const std::string& component) {
    std::vector<Recipe> out;
    for (const std::string& part : first().components()) {
      if (!component.empty() && part != component) continue;
      std::map<std::string, Shape> weights;
      for (const ModelTensor& tensor : first().tensors())
        if (tensor.component == part) weights[tensor.name] = tensor.shape;
      for (const TensorLayout& layout : layouts_of(weights, target_names(part)))
        out.push_back(recipe_for(part, layout));
    }
    if (component.empty())
      for (const ModelTensor& tensor : first().tensors())
        if (tensor.component.empty()) out.push_back(recipe_for(tensor));
    if (target_ != Target::gguf)  // each aligned to its elements
      std::stable_sort(out.begin(), out.end(), [](const Recipe& a, const Recipe& b) {
        return size_of(a.encoding.dtype) > size_of(b.encoding.dtype);
      });
    return out;
  }

  std::map<std::string, std::string> metadata() const {
    std::map<std::string, std::string> out;
    // What a GGUF file says about itself is typed, and about that file.
    const bool text = std::ranges::none_of(
        first().tensors(), [](const ModelTensor& t) { return t.file.container() == io::Container::gguf; });
    if (text) out = first().metadata();
    if (target_ != Target::gguf) {
      out["format"] = "pt";
      return out;
    }
    out["general.architecture"] = !first().unet ? "none" : is_xl(first().family) ? "sdxl" : "sd1";
    out["general.name"] = fs::path(options_.output).stem().string();
    return out;
  }

  /// One file, or shards with their index, as `path` names them.
  void write_file(const std::string& path, std::vector<Recipe> tensors, Cleanup& cleanup) {
    if (tensors.empty()) fail(ErrorCode::io, "{}: expected tensors, found none", printable(first().path(), 400));
    const auto size_of_recipe = [](const Recipe& r) {
      return io::encoded_bytes(r.encoding.dtype, r.encoding.format, r.stored_shape);
    };
    std::vector<RecipeFile> files(1);
    uint64_t bytes = 0, total = 0;
    for (Recipe& recipe : tensors) {
      const uint64_t size = size_of_recipe(recipe);
      if (options_.max_shard_bytes && bytes > 0 && bytes + size > options_.max_shard_bytes) {
        files.emplace_back();
        bytes = 0;
      }
      bytes += size;
      total += size;
      files.back().tensors.push_back(std::move(recipe));
    }
    const std::string stem = path.substr(0, path.rfind('.'));
    nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}},
                                    {"weight_map", nlohmann::ordered_json::object()}};
    for (size_t i = 0; i < files.size(); ++i) {
      RecipeFile& file = files[i];
      file.path = files.size() == 1 ? path : fmt::format("{}-{:05}-of-{:05}.safetensors", stem, i + 1, files.size());
      file.gguf = target_ == Target::gguf;
      file.metadata = metadata();
      std::error_code error;
      if (fs::exists(file.path, error))
        fail(ErrorCode::io, "OUTPUT {}: expected a new name, found something there", printable(file.path, 400));
      for (const Recipe& recipe : file.tensors)
        index["weight_map"][recipe.name] = fs::path(file.path).filename().string();
    }
    for (const RecipeFile& file : files) {
      write_recipes(
          file, result_.bytes, [&](uint64_t done, uint64_t) { report(done); }, options_.cancel);
      cleanup.add(file.path);
      result_.files.push_back(file.path);
      result_.tensors += static_cast<int64_t>(file.tensors.size());
      if (options_.check) check_recipes(file, result_.check, options_.cancel);
    }
    if (files.size() == 1) return;
    io::AtomicFile list(stem + ".safetensors.index.json");
    list.write(index.dump(2) + "\n");
    list.commit();
    cleanup.add(list.path());
  }

  void report(uint64_t done) const {
    if (options_.progress) options_.progress(done, expected_bytes_);
  }
  void expect(const std::vector<Recipe>& tensors) {
    for (const Recipe& r : tensors)
      expected_bytes_ += io::encoded_bytes(r.encoding.dtype, r.encoding.format, r.stored_shape);
  }

  void write_single() {
    std::vector<Recipe> tensors = recipes(options_.component);
    expect(tensors);
    Cleanup cleanup;
    write_file(options_.output, std::move(tensors), cleanup);
    cleanup.keep();
  }

  void write_folder() {
    fs::path out = fs::path(options_.output).lexically_normal();
    if (!out.has_filename()) out = out.parent_path();
    const fs::path parent = out.has_parent_path() ? out.parent_path() : fs::path(".");
    const fs::path begun = parent / fmt::format(".easel-{}-{}.part", out.filename().string(), ::getpid());
    std::error_code error;
    Cleanup cleanup({begun.string()});
    if (!fs::create_directory(begun, error))
      fail(ErrorCode::io, "OUTPUT {}: cannot be made: {}", printable(options_.output, 400), error.message());
    write_descriptions(first(), options_.tokenizer, begun.string());
    std::map<std::string, std::vector<Recipe>> parts;
    for (const std::string& part : first().components_of_family()) expect(parts[part] = recipes(part));
    for (auto& [part, tensors] : parts) {
      const char* name = part.starts_with("text_encoder") ? "model.safetensors" : "diffusion_pytorch_model.safetensors";
      write_file((begun / part / name).string(), std::move(tensors), cleanup);
    }
    for (const ModelTensor& tensor : first().tensors())
      if (tensor.component.empty()) result_.left_out.push_back(tensor.name);
    fs::rename(begun, out, error);
    if (error) fail(ErrorCode::io, "OUTPUT {}: cannot be made: {}", printable(options_.output, 400), error.message());
    cleanup.keep();
    for (std::string& file : result_.files) file = (out / fs::path(file).lexically_relative(begun)).string();
  }

  const ConvertOptions& options_;
  std::optional<Encoding> encoding_;
  Target target_ = Target::safetensors;
  TensorNames names_ = TensorNames::keep;
  std::vector<std::unique_ptr<ModelTensors>> models_;
  std::unique_ptr<MergedTensors> merged_;
  uint64_t expected_bytes_ = 0;
  ConvertResult result_;
};

}  // namespace

}  // namespace easel::pipelines

namespace easel {

ConvertResult convert(const ConvertOptions& options) {
  if (options.inputs.empty() || options.inputs.size() > 3 ||
      (options.inputs.size() > 1 && options.weights.size() != options.inputs.size()))
    fail(ErrorCode::invalid_argument, "convert: expected one input, or two or three with a weight each");
  return pipelines::Converter(options).run();
}

}  // namespace easel
