// The library's own conversion; what its files are good for is tested where the command is (tests/e2e/test_formats.py).
#include <easel/convert.h>

#include <gtest/gtest.h>

#include "io/tensor_file.h"
#include "io/test_folder.h"

namespace easel {
namespace {

const std::string kModel = EASEL_SOURCE_DIR "/tests/goldens/sd15/d/model.safetensors";

TEST(Convert, WritesChecksAndReports) {
  const io::TestFolder folder;
  uint64_t last = 0, all = 0;
  int calls = 0;
  ConvertOptions options{.inputs = {kModel}, .output = folder / "out.gguf", .dtype = "q8_0", .check = true};
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    last = done;
    all = total;
    ++calls;
  };
  const ConvertResult result = convert(options);
  EXPECT_EQ(result.files, std::vector<std::string>{options.output});
  const io::TensorFile written = io::TensorFile::open(options.output);
  EXPECT_EQ(static_cast<size_t>(result.tensors), written.tensors().size());
  EXPECT_EQ(last, result.bytes);
  EXPECT_EQ(all, result.bytes);
  EXPECT_GT(calls, 1);
  EXPECT_EQ(result.check.tensors, result.tensors);
  EXPECT_LT(result.check.worst.at("q8_0").first, 0.01);
  EXPECT_GT(result.check.worst.at("q8_0").first, 0);
}

TEST(Convert, SumsWithWeights) {
  const io::TestFolder folder;
  convert({.inputs = {kModel, kModel, kModel},
           .output = folder / "sum.safetensors",
           .dtype = "fp32",
           .weights = {1, 0.5, -0.25}});
  const std::string name = "cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight";
  const Tensor source = io::TensorFile::open(kModel).tensor(name).clone().to(DType::f32);
  const Tensor sum = io::TensorFile::open(folder / "sum.safetensors").tensor(name).clone();
  ASSERT_EQ(sum.dtype(), DType::f32);
  for (int64_t i = 0; i < sum.numel(); ++i)
    ASSERT_EQ(sum.data<float>()[i],
              source.data<float>()[i] + 0.5f * source.data<float>()[i] - 0.25f * source.data<float>()[i]);
}

TEST(Convert, LeavesNothingWhereItFails) {
  const io::TestFolder folder;
  const auto refused = [&](ConvertOptions options, ErrorCode code) {
    options.inputs.push_back(kModel);
    if (options.output.empty()) options.output = folder / "out.safetensors";
    const std::string message = io::error_of([&] { convert(options); }, code);
    EXPECT_EQ(folder.entries(), 0u) << message;
    return message;
  };
  EXPECT_HAS(refused({.dtype = "q9"}, ErrorCode::invalid_argument), "q8_0");
  EXPECT_HAS(refused({.dtype = "q8_0"}, ErrorCode::invalid_argument), ".gguf");
  EXPECT_HAS(refused({.component = "unets"}, ErrorCode::invalid_argument), "text_encoder");
  EXPECT_HAS(refused({.inputs = {kModel}}, ErrorCode::invalid_argument), "a weight each");
  EXPECT_HAS(refused({.output = folder / "x.ckpt"}, ErrorCode::invalid_argument), ".ckpt");
  ConvertOptions cancelled;
  cancelled.cancel.cancel();
  EXPECT_HAS(refused(cancelled, ErrorCode::cancelled), "cancelled");
}

}  // namespace
}  // namespace easel
