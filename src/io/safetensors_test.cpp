#include "io/safetensors.h"
#include "io/weight_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "io/dtype_names.h"
#include "io/test_folder.h"

namespace easel::io {
namespace {

/// A file of this header and `data` zero bytes.
std::string file_bytes(const std::string& header, size_t data, uint64_t length) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(length >> (8 * i) & 0xff);
  return out + header + std::string(data, '\0');
}
std::string file_bytes(const std::string& header, size_t data) { return file_bytes(header, data, header.size()); }

std::string rejected(const std::string& bytes) {
  return error_of([&] {
    parse_safetensors_header(std::as_bytes(std::span(bytes.data(), bytes.size())), bytes.size(), "m.safetensors");
  });
}
std::string rejected(const std::string& header, size_t data) { return rejected(file_bytes(header, data)); }

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, EveryDtypeSurvivesARoundTrip) {
  TestFolder folder;
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const auto& [name, dtype] : kDTypeNames) {
    Tensor tensor = Tensor::empty(dtype, {3, 5});
    for (int64_t i = 0; i < tensor.bytes(); ++i)
      tensor.raw()[i] = static_cast<std::byte>(dtype == DType::boolean ? i & 1 : i * 7 + static_cast<int>(dtype));
    tensors.emplace_back(std::string(name), tensor);
  }
  tensors.emplace_back("scalar", Tensor::from({2.5f}, Shape{}));
  tensors.emplace_back("nothing", Tensor::zeros(DType::f16, {0, 4}));
  write_safetensors(folder / "all.safetensors", tensors, {{"format", "pt"}, {"note", "ä\n\"quoted\""}});
  EXPECT_EQ(folder.entries(), 1u);

  const auto file = SafetensorsFile::open(folder / "all.safetensors");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  EXPECT_EQ(file.metadata().at("note"), "ä\n\"quoted\"");
  for (const auto& [name, tensor] : tensors) {
    ASSERT_NE(file.find(name), nullptr) << name;
    const Tensor read = file.tensor(name);
    EXPECT_EQ(read.dtype(), tensor.dtype());
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(read.raw(), tensor.raw(), static_cast<size_t>(tensor.bytes())), 0) << name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(read.raw()) % static_cast<uintptr_t>(size_of(read.dtype())), 0u) << name;
  }
  EXPECT_EQ(file.find("missing"), nullptr);
  EXPECT_HAS(error_of([&] { file.tensor("missing"); }), "tensor 'missing'");
}

TEST(Safetensors, ViewsKeepTheMappingAliveAndPagesComeBack) {
  TestFolder folder;
  const int64_t count = 100'000;
  Tensor source = Tensor::empty(DType::i32, {count});
  for (int64_t i = 0; i < count; ++i) source.data<int32_t>()[i] = static_cast<int32_t>(i);
  write_safetensors(folder / "a.safetensors", {{"x", source}});
  Tensor view;
  {
    const auto file = SafetensorsFile::open(folder / "a.safetensors");
    view = file.tensor("x");
    EXPECT_EQ(view.data<int32_t>()[count - 1], count - 1);
    file.release_pages("x");
    file.release_pages("no such tensor");
  }
  ::unlink((folder / "a.safetensors").c_str());
  for (int64_t i = 0; i < count; ++i) ASSERT_EQ(view.data<int32_t>()[i], i);
}

TEST(Safetensors, RowsOfATensorAreWritten) {
  TestFolder folder;
  const Tensor whole = Tensor::from({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {2, 2, 3});
  const Tensor part = whole.reshape({4, 3}).rows(1, 3);
  write_safetensors(folder / "a.safetensors", {{"part", part}});
  const Tensor read = SafetensorsFile::open(folder / "a.safetensors").tensor("part");
  EXPECT_EQ(read.clone().data<float>()[0], 3.f);
  EXPECT_EQ(read.clone().data<float>()[5], 8.f);
}

TEST(Safetensors, StreamingWriterHoldsItsDeclarations) {
  TestFolder folder;
  const std::string path = folder / "a.safetensors";
  {
    SafetensorsWriter writer(path, {{"a", DType::f32, {2}}, {"b", DType::u8, {3}}});
    writer.write(Tensor::from({1, 2}, {2}));
    EXPECT_HAS(error_of([&] { writer.write(Tensor::zeros(DType::u8, {4})); }, ErrorCode::invalid_argument), "'b'");
    EXPECT_HAS(error_of([&] { writer.finish(); }, ErrorCode::invalid_argument), "expected 11 bytes");
  }
  EXPECT_EQ(folder.entries(), 0u);  // never finished: nothing is left
  {
    SafetensorsWriter writer(path, {{"a", DType::f32, {2}}, {"b", DType::u8, {3}}});
    writer.write(Tensor::from({1, 2}, {2}));
    const std::byte bytes[3] = {std::byte{7}, std::byte{8}, std::byte{9}};
    writer.write_bytes({bytes, 2});
    writer.write_bytes({bytes + 2, 1});
    EXPECT_FALSE(std::filesystem::exists(path));
    writer.finish();
  }
  const auto file = SafetensorsFile::open(path);
  EXPECT_EQ(file.tensor("b").data<uint8_t>()[2], 9);
  EXPECT_HAS(error_of(
                 [&] {
                   SafetensorsWriter(path, {{"a", DType::u8, {1}}, {"a", DType::u8, {1}}});
                 },
                 ErrorCode::invalid_argument),
             "'a'");
}

TEST(Safetensors, ShardsAreSeenAsOneFile) {
  TestFolder folder;
  write_safetensors(folder / "m-1.safetensors", {{"a", Tensor::from({1}, {1})}, {"c", Tensor::from({3}, {1})}});
  write_safetensors(folder / "m-2.safetensors", {{"b", Tensor::from({2}, {1})}});
  const std::string index = folder.write(
      "m.safetensors.index.json",
      R"({"metadata":{"total_size":12},"weight_map":{"c":"m-1.safetensors","a":"m-1.safetensors","b":"m-2.safetensors"}})");
  const auto weights = WeightFiles::open(index);
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(weights.files().size(), 2u);
  EXPECT_EQ(weights.tensor("b").clone().data<float>()[0], 2.f);
  EXPECT_EQ(weights.file_of("b"), folder / "m-2.safetensors");
  EXPECT_HAS(error_of([&] { weights.tensor("d"); }), "'d'");

  const auto single = WeightFiles::open(folder / "m-1.safetensors");
  EXPECT_EQ(single.names(), (std::vector<std::string>{"a", "c"}));
  EXPECT_EQ(single.find("b"), nullptr);

  const auto bad = [&](const std::string& text) {
    return error_of([&] { WeightFiles::open(folder.write("bad.index.json", text)); });
  };
  EXPECT_HAS(bad(R"({"weight_map":{"b":"m-1.safetensors"}})"), "expected tensor 'b' in m-1.safetensors");
  EXPECT_HAS(bad(R"({"weight_map":{"b":"../m-1.safetensors"}})"), "same folder");
  EXPECT_HAS(bad(R"({"weight_map":{"b":"gone.safetensors"}})"), "gone.safetensors");
  EXPECT_HAS(bad(R"({"weight_map":{"b":7}})"), "same folder");
  EXPECT_HAS(bad(R"({"weight_map":[]})"), "weight_map");
  EXPECT_HAS(bad("[]"), "weight_map");
  EXPECT_HAS(bad(""), "bad.index.json");
}

TEST(SafetensorsBadInput, Files) {
  TestFolder folder;
  const auto open = [](const std::string& path) { return error_of([&] { SafetensorsFile::open(path); }); };
  EXPECT_HAS(open(folder / "missing"), "cannot be opened: No such file");
  EXPECT_HAS(open(folder.path()), "found a folder");
  EXPECT_HAS(open(folder.write("empty", "")), "at least 8 bytes, found 0");
  EXPECT_HAS(open(folder.write("short", "1234567")), "found 7");
  EXPECT_HAS(open("/dev/null"), "found a device or pipe");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_HAS(open(folder / "pipe"), "found a device or pipe");
  if (::geteuid() != 0) {
    ::chmod(folder.write("secret", "x").c_str(), 0);
    EXPECT_HAS(open(folder / "secret"), "Permission denied");
  }
}

TEST(SafetensorsBadInput, Header) {
  EXPECT_HAS(rejected(file_bytes("{}", 0, 3)), "expected a header of 3 bytes, found only 2");
  EXPECT_HAS(rejected(file_bytes("{}", 0, 100'000'001)), "at most 100000000 bytes, found 100000001");
  EXPECT_HAS(rejected(file_bytes("{}", 0, ~0ull)), "found 18446744073709551615");
  EXPECT_HAS(rejected("", 4), "found nothing");
  EXPECT_HAS(rejected("[]", 0), "beginning with '{'");
  EXPECT_HAS(rejected("{\"a\":", 0), "expected JSON");
  EXPECT_HAS(rejected("{} x", 0), "expected JSON");
  EXPECT_HAS(rejected("{\"a\xff\":1}", 0), "expected JSON");
  EXPECT_HAS(rejected("{\"a\":1}", 0), "expected an object, found 1");
  EXPECT_HAS(rejected("{\"a\":null}", 0), "found null");
  EXPECT_HAS(rejected("{}", 4), "expected 0 bytes of data, found 4");
  const std::string deep(200'000, '[');
  EXPECT_HAS(rejected("{\"a\":" + deep, 0), "found a list");
  EXPECT_HAS(rejected("{\"a\":{\"shape\":" + deep, 0), "found a list");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_HAS(rejected(objects, 0), "expected dtype, shape and data_offsets, found 'a'");
  EXPECT_HAS(rejected(R"({"__metadata__":{"k":1}})", 0), "key 'k': expected a string, found 1");
  EXPECT_HAS(rejected(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "occurs twice");
  EXPECT_HAS(rejected(R"({"__metadata__":{},"__metadata__":{}})", 0), "occurs twice");
}

TEST(SafetensorsBadInput, Tensors) {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets, size_t data) {
    const std::string message = rejected(R"({"w":)" + entry(dtype, shape, offsets) + "}", data);
    EXPECT_HAS(message, "m.safetensors: tensor 'w'");
    return message;
  };
  EXPECT_HAS(one("F33", "[1]", "[0,4]", 4), "found 'F33'");
  EXPECT_HAS(one("F32", "[2]", "[0,4]", 4), "expected 8 bytes for F32 [2], found 4");
  EXPECT_HAS(one("F32", "[1]", "[0,8]", 4), "expected data up to byte 8, found only 4");
  EXPECT_HAS(one("F32", "[1]", "[4,0]", 4), "begin ≤ end");
  EXPECT_HAS(one("F32", "[-1]", "[0,4]", 4), "found -1");
  EXPECT_HAS(one("F32", "[1.5]", "[0,4]", 4), "found 1.5");
  EXPECT_HAS(one("F32", "[9223372036854775808]", "[0,4]", 4), "below 2^63");
  EXPECT_HAS(one("F32", "[99999999999999999999999]", "[0,4]", 4), "below 2^63");
  EXPECT_HAS(one("F32", "[4294967296,4294967296]", "[0,0]", 0), "overflows 64 bits");
  EXPECT_HAS(one("F64", "[2305843009213693952]", "[0,0]", 0), "overflows 64 bits");
  EXPECT_HAS(one("F32", "[0,4294967296,4294967296]", "[0,0]", 0), "overflows 64 bits");
  EXPECT_HAS(one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4), "at most 8 dimensions");
  EXPECT_HAS(one("F32", "[1]", "[0]", 4), "two data_offsets, found 1");
  EXPECT_HAS(one("F32", "[1]", "[0,4,4]", 4), "two data_offsets, found more");
  EXPECT_HAS(one("F32", "4", "[0,4]", 4), "expected a list of numbers, found 4");
  EXPECT_HAS(rejected(R"({"w":{"dtype":"F32","shape":[1]}})", 4), "expected the key 'data_offsets'");
  EXPECT_HAS(rejected(R"({"w":{"dtype":1}})", 4), "dtype: expected a string, found 1");
  EXPECT_HAS(rejected(R"({"w":{"dtype":"F32","dtype":"F32"}})", 4), "occurs twice");
  const std::string at0 = entry("F32", "[1]", "[0,4]");
  EXPECT_HAS(rejected(R"({"w":)" + at0 + R"(,"w":)" + at0 + "}", 8), "'w' occurs twice");
  EXPECT_HAS(rejected(R"({"v":)" + at0 + R"(,"w":)" + entry("U8", "[4]", "[2,6]") + "}", 6), "found 2 (overlap)");
  EXPECT_HAS(rejected(R"({"v":)" + at0 + R"(,"w":)" + entry("U8", "[4]", "[6,10]") + "}", 10), "found 6 (gap)");
  EXPECT_HAS(rejected(R"({"a\nb":)" + at0 + "}", 4), "a\\x0ab");
  EXPECT_HAS(rejected(R"({"a\u0000":)" + at0 + "}", 4), "without control characters");
}

}  // namespace
}  // namespace easel::io
