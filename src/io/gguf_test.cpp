#include "io/gguf.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/safetensors.h"
#include "io/sha256.h"
#include "io/test_folder.h"

namespace easel::io {
namespace {

const std::string kFormats = EASEL_SOURCE_DIR "/tests/goldens/formats/";

TEST(Gguf, ReadsWhatThePackageWrites) {
  const TensorFile file = TensorFile::open(kFormats + "tiny.gguf"),
                   values = TensorFile::open(kFormats + "tiny_gguf_values.safetensors");
  EXPECT_EQ(file.container(), Container::gguf);
  EXPECT_EQ(file.tensors().size(), values.tensors().size());
  for (const TensorInfo& info : values.tensors()) {
    ASSERT_NE(file.find(info.name), nullptr) << info.name;
    EXPECT_EQ(file.find(info.name)->shape, info.shape) << info.name;
    const Tensor found = file.tensor(info.name).to(DType::f32), expected = values.tensor(info.name);
    EXPECT_EQ(std::memcmp(found.raw(), expected.raw(), static_cast<size_t>(expected.bytes())), 0) << info.name;
  }
  EXPECT_EQ(file.find("conv.weight")->encoding(), "q4_0");
  EXPECT_EQ(file.metadata().at("general.architecture"), "sd1");
  EXPECT_EQ(file.metadata().at("test.scale"), "0.5");
  EXPECT_EQ(file.metadata().at("test.flag"), "true");
  EXPECT_EQ(file.metadata().at("test.words"), "[3 × string] one, two, three");
  EXPECT_EQ(file.metadata().at("test.many"), "[100 × i32] 0, 1, 2, 3, 4, 5, 6, 7, …");
}

std::string written(const TestFolder& folder) {
  const std::string path = folder / "w.gguf";
  GgufWriter writer(path,
                    {{"a", DType::f32, BlockFormat::none, {3}},
                     {"none", DType::f16, BlockFormat::none, {0, 4}},
                     {"q", DType::f32, BlockFormat::q8_0, {2, 32}},
                     {"b", DType::i64, BlockFormat::none, {}}},
                    {{"general.architecture", "sd1"},
                     {"general.quantization_version", uint32_t{2}},
                     {"comfy.gguf.orig_shape.q", std::vector<int32_t>{4, 4, 2, 2}}});
  std::string bytes;
  for (int i = 0; i < 12 + 68 + 8; ++i) bytes += static_cast<char>(i);
  // Pieces that do not end where tensors do.
  writer.write_bytes(std::as_bytes(std::span(bytes).first(5)));
  writer.write_bytes(std::as_bytes(std::span(bytes).subspan(5, 70)));
  writer.write_bytes(std::as_bytes(std::span(bytes).subspan(75)));
  writer.finish();
  return path;
}

TEST(Gguf, ReadsWhatItWrites) {
  const TestFolder folder;
  const TensorFile file = TensorFile::open(written(folder));
  EXPECT_EQ(file.find("q")->shape, (Shape{4, 4, 2, 2}));
  EXPECT_EQ(file.find("q")->encoding(), "q8_0");
  EXPECT_EQ(file.find("b")->shape, (Shape{1}));
  EXPECT_EQ(file.find("none")->shape, (Shape{0, 4}));
  const auto byte = [&](const char* name, size_t at) {
    return std::to_integer<int>(file.stored_bytes(*file.find(name))[at]);
  };
  EXPECT_EQ(byte("a", 0), 0);
  EXPECT_EQ(byte("q", 0), 12);
  EXPECT_EQ(byte("b", 7), 12 + 68 + 7);
  EXPECT_EQ(file.metadata().at("general.architecture"), "sd1");
  EXPECT_FALSE(file.metadata().contains("comfy.gguf.orig_shape.q"));
}

TEST(Gguf, WhatCannotBeWrittenIsRefused) {
  const TestFolder folder;
  const auto refused = [&](GgufWriter::Declaration tensor) {
    return error_of([&] { GgufWriter(folder / "x.gguf", {std::move(tensor)}, {}); }, ErrorCode::invalid_argument);
  };
  EXPECT_HAS(refused({"", DType::f32, BlockFormat::none, {1}}), "name");
  EXPECT_HAS(refused({std::string(128, 'a'), DType::f32, BlockFormat::none, {1}}), "127");
  EXPECT_HAS(refused({"a", DType::boolean, BlockFormat::none, {1}}), "bool");
  EXPECT_HAS(refused({"a", DType::f32, BlockFormat::none, {1, 1, 1, 1, 1}}), "at most 4");
  EXPECT_HAS(refused({"a", DType::f32, BlockFormat::q4_k, {2, 64}}), "Q4_K");
  EXPECT_EQ(folder.entries(), 0u);
  GgufWriter unfinished(folder / "x.gguf", {{"a", DType::f32, BlockFormat::none, {1}}}, {});
  EXPECT_HAS(error_of([&] { unfinished.finish(); }, ErrorCode::invalid_argument), "not written");
}

class Builder {
 public:
  Builder& number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(value >> (8 * i) & 0xff);
    return *this;
  }
  Builder& text(const std::string& value) {
    number(value.size(), 8);
    out_ += value;
    return *this;
  }
  Builder& head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    out_ = "GGUF";
    return number(version, 4).number(tensors, 8).number(keys, 8);
  }
  Builder& tensor(const std::string& name, std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    text(name).number(dims.size(), 4);
    for (const uint64_t dim : dims) number(dim, 8);
    return number(type, 4).number(offset, 8);
  }
  Builder& data(size_t bytes) {
    out_.resize((out_.size() + 31) / 32 * 32 + bytes);
    return *this;
  }
  std::string refused() const {
    return error_of([&] { read_gguf(std::as_bytes(std::span(out_)), "x.gguf"); });
  }
  std::string out_;
};

TEST(Gguf, LiesAreRefused) {
  EXPECT_EQ(
      read_gguf(std::as_bytes(std::span(Builder().head(1, 0).tensor("a", {2}, 0, 0).data(8).out_)), "x").tensors.size(),
      1u);
  EXPECT_HAS(Builder().head(0, 0, 1).refused(), "version 1");
  EXPECT_HAS(Builder().head(0, 0, 4).refused(), "version 4");
  EXPECT_HAS(Builder().head(0, 0, 0x03000000).refused(), "big-endian");
  EXPECT_HAS(Builder().head(1ull << 60, 0).refused(), "count");
  EXPECT_HAS(Builder().head(0, 1ull << 60).refused(), "count");
  EXPECT_HAS(Builder().head(2, 0).tensor("a", {2}, 0, 0).data(8).refused(), "");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {2}, 0, 0).refused(), "truncated");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {2}, 0, 0).data(7).refused(), "truncated");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {2}, 0, 1ull << 62).data(8).refused(), "truncated");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {16}, 0, ~31ull).data(8).refused(), "overflows");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {2}, 0, 4).data(12).refused(), "multiple of 32");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {1ull << 40, 1ull << 40}, 0, 0).data(8).refused(), "overflows");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {0, 1ull << 40, 1ull << 40}, 0, 0).data(8).refused(), "overflows");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {~0ull}, 0, 0).data(8).refused(), "overflows");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", std::vector<uint64_t>(9, 1), 0, 0).data(8).refused(), "8 dimensions");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {2}, 77, 0).data(8).refused(), "77");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {256}, 16, 0).data(66).refused(), "IQ2_XXS");
  EXPECT_HAS(Builder().head(1, 0).tensor("a", {48}, 2, 0).data(27).refused(), "whole Q4_0 blocks");
  EXPECT_HAS(Builder().head(2, 0).tensor("a", {2}, 0, 0).tensor("a", {2}, 0, 32).data(40).refused(), "new name");
  EXPECT_HAS(Builder().head(2, 0).tensor("a", {9}, 0, 0).tensor("b", {2}, 0, 32).data(40).refused(), "overlaps");
  EXPECT_HAS(Builder().head(1, 0).tensor("a\n", {2}, 0, 0).data(8).refused(), "control");
}

TEST(Gguf, LyingMetadataIsRefused) {
  const auto key = [](const std::string& name) { return Builder().head(0, 1).text(name); };
  EXPECT_HAS(key("a").number(13, 4).number(0, 8).refused(), "13");
  EXPECT_HAS(key("a").number(8, 4).number(1ull << 50, 8).refused(), "truncated");
  EXPECT_HAS(key("a").number(9, 4).number(4, 4).number(1ull << 61, 8).refused(), "count");
  EXPECT_HAS(key("a").number(9, 4).number(8, 4).number(1ull << 61, 8).refused(), "count");
  EXPECT_HAS(key("a").number(9, 4).number(99, 4).number(0, 8).refused(), "99");
  Builder nested = key("a");
  nested.number(9, 4);
  for (int i = 0; i < 100; ++i) nested.number(9, 4).number(1, 8);
  EXPECT_HAS(nested.refused(), "nested");
  EXPECT_HAS(key("general.alignment").number(4, 4).number(48, 4).refused(), "power of two");
  EXPECT_HAS(key("general.alignment").number(4, 4).number(0, 4).refused(), "power of two");
  EXPECT_HAS(Builder().head(0, 2).text("a").number(4, 4).number(1, 4).text("a").number(4, 4).number(1, 4).refused(),
             "twice");
  EXPECT_HAS(Builder()
                 .head(1, 1)
                 .text("comfy.gguf.orig_shape.a")
                 .number(9, 4)
                 .number(5, 4)
                 .number(2, 8)
                 .number(3, 4)
                 .number(7, 4)
                 .tensor("a", {2}, 0, 0)
                 .data(8)
                 .refused(),
             "shape of 2 elements");
}

TEST(Gguf, BrokenFilesAreRefused) {
  const std::string whole = read_all(kFormats + "tiny.gguf");
  for (size_t size = 0; size < whole.size(); size += 7)
    EXPECT_THROW(read_gguf(std::as_bytes(std::span(whole).first(size)), "x"), Error) << size;
  for (size_t at = 0; at < 2000; ++at)
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      returns_or_refuses([&] { read_gguf(std::as_bytes(std::span(changed)), "x"); });
    }
}

TEST(Sha256, KnownDigests) {
  const TestFolder folder;
  EXPECT_EQ(sha256_of_file(folder.write("a", "abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_of_file(folder.write("b", "")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  uint64_t seen = 0;
  sha256_of_file(folder.write("c", std::string(40 << 20, 'x')), [&](uint64_t done, uint64_t all) {
    EXPECT_EQ(all, 40u << 20);
    seen = done;
  });
  EXPECT_EQ(seen, 32u << 20);
}

}  // namespace
}  // namespace easel::io
