#include "io/fp8_scales.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "io/safetensors.h"
#include "io/test_folder.h"
#include "io/weight_files.h"
#include "tensor/convert.h"

namespace easel::io {
namespace {

using Tensors = std::vector<std::pair<std::string, Tensor>>;

Tensor floats(const Shape& shape, std::initializer_list<float> values) {
  const Tensor out = Tensor::empty(DType::f32, shape);
  std::copy(values.begin(), values.end(), out.data<float>());
  return out;
}

// 1.5, −2, 0.25, 448, 3, 0: numbers that e4m3 holds.
const std::initializer_list<float> kStored = {1.5f, -2, 0.25f, 448, 3, 0};

Tensor stored(DType dtype = DType::f8_e4m3) { return floats({2, 3}, kStored).to(dtype); }

std::vector<float> values_of(const TensorFile& file, const char* name) {
  const Tensor out = file.tensor(name);
  EXPECT_EQ(out.dtype(), DType::f32);
  const auto span = out.span<float>();
  return {span.begin(), span.end()};
}

TEST(Fp8Scales, OneScaleInEitherName) {
  const TestFolder folder;
  for (const char* name : {"scale_weight", "weight_scale"})
    for (const Shape& shape : {Shape{}, Shape{1}}) {
      const std::string path = folder / "a.safetensors";
      write_safetensors(path, {{"a.weight", stored()},
                               {std::string("a.") + name, floats(shape, {0.3f})},
                               {"a.scale_input", floats({}, {7})},
                               {"a.input_scale", floats({}, {7})},
                               {"a.comfy_quant", Tensor::zeros(DType::u8, {4})},
                               {"scaled_fp8", Tensor::zeros(DType::f8_e4m3, {0})},
                               {"b.weight", floats({1}, {5})}});
      const TensorFile file = TensorFile::open(path);
      EXPECT_EQ(file.tensors().size(), 2u);
      EXPECT_TRUE(file.absorbed("scaled_fp8"));
      EXPECT_FALSE(file.absorbed("a.weight"));
      EXPECT_EQ(file.find("a.weight")->encoding(), "f8_e4m3_scaled");
      EXPECT_EQ(file.find("b.weight")->encoding(), "f32");
      const std::vector<float> found = values_of(file, "a.weight");
      for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i], kStored.begin()[i] * 0.3f);
      EXPECT_EQ(values_of(file, "b.weight").front(), 5);
    }
}

TEST(Fp8Scales, AScalePerRow) {
  const TestFolder folder;
  for (const Shape& shape : {Shape{2}, Shape{2, 1}}) {
    const std::string path = folder / "a.safetensors";
    write_safetensors(
        path, {{"a.weight", stored(DType::f8_e5m2)}, {"a.weight_scale", floats(shape, {0.5f, 3}).to(DType::bf16)}});
    const TensorFile file = TensorFile::open(path);
    EXPECT_EQ(file.find("a.weight")->encoding(), "f8_e5m2_scaled");
    EXPECT_EQ(values_of(file, "a.weight"), (std::vector<float>{0.75f, -1, 0.125f, 1344, 9, 0}));
    // A range that begins within a row.
    float part[3];
    file.read_f32(*file.find("a.weight"), 2, 3, part);
    EXPECT_EQ(part[0], 0.125f);
    EXPECT_EQ(part[1], 1344);
    EXPECT_EQ(part[2], 9);
  }
}

TEST(Fp8Scales, ShardsMayListThem) {
  const TestFolder folder;
  write_safetensors(folder / "m-1.safetensors", {{"a.weight", stored()}, {"a.scale_weight", floats({}, {2})}});
  write_safetensors(folder / "m-2.safetensors", {{"b.weight", stored()}});
  const std::string index = folder.write(
      "m.index.json",
      R"({"weight_map": {"a.weight": "m-1.safetensors", "a.scale_weight": "m-1.safetensors", "b.weight": "m-2.safetensors"}})");
  const WeightFiles files = WeightFiles::open(index);
  EXPECT_EQ(files.names(), (std::vector<std::string>{"a.weight", "b.weight"}));
  EXPECT_EQ(files.tensor("a.weight").span<float>()[0], 3);
}

TEST(Fp8Scales, RefusesWhatItCannotApply) {
  const TestFolder folder;
  const auto refused = [&](const Tensors& tensors) {
    write_safetensors(folder / "a.safetensors", tensors);
    return error_of([&] { TensorFile::open(folder / "a.safetensors"); });
  };
  EXPECT_HAS(refused({{"a.scale_weight", floats({}, {2})}}), "its weight 'a.weight'");
  EXPECT_HAS(
      refused({{"a.weight", stored()}, {"a.scale_weight", floats({}, {2})}, {"a.weight_scale", floats({}, {2})}}),
      "found two");
  EXPECT_HAS(
      refused({{"a.weight", stored()}, {"a.scale_weight", floats({}, {std::numeric_limits<float>::quiet_NaN()})}}),
      "finite");
  EXPECT_HAS(refused({{"a.weight", stored()}, {"a.weight_scale", floats({3}, {1, 2, 3})}}), "one per row");
  // Packed numbers of other formats: NVFP4, int8.
  EXPECT_HAS(refused({{"a.weight", Tensor::zeros(DType::u8, {2, 8})}, {"a.weight_scale", stored()}}), "u8");
  EXPECT_HAS(refused({{"a.weight", Tensor::zeros(DType::i8, {2, 8})}, {"a.weight_scale", floats({}, {1})}}), "i8");
}

}  // namespace
}  // namespace easel::io
