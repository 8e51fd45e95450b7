// PyTorch checkpoints: what torch writes is read, and nothing in a file is ever run.
#include "io/pytorch.h"

#include <gtest/gtest.h>

#include <cstring>

#include "io/pickle.h"
#include "io/safetensors.h"
#include "io/test_folder.h"
#include "io/zip_archive.h"

namespace easel::io {
namespace {

const std::string kFormats = EASEL_SOURCE_DIR "/tests/goldens/formats/";

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

void expect_same_tensors(const TensorFile& found, const TensorFile& expected) {
  EXPECT_EQ(found.tensors().size(), expected.tensors().size());
  for (const TensorInfo& info : expected.tensors()) {
    ASSERT_NE(found.find(info.name), nullptr) << info.name;
    const Tensor a = found.tensor(info.name), b = expected.tensor(info.name);
    EXPECT_EQ(a.dtype(), b.dtype()) << info.name;
    EXPECT_EQ(a.shape(), b.shape()) << info.name;
    ASSERT_EQ(a.bytes(), b.bytes()) << info.name;
    EXPECT_TRUE(a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0) << info.name;
    // In pieces, as a converter reads.
    std::vector<float> whole(static_cast<size_t>(a.numel())), pieces(whole.size());
    const TensorInfo& stored = *found.find(info.name);
    found.read_f32(stored, 0, a.numel(), whole.data());
    for (int64_t at = 0; at < a.numel(); at += 5)
      found.read_f32(stored, at, std::min<int64_t>(5, a.numel() - at), pieces.data() + at);
    EXPECT_EQ(std::memcmp(whole.data(), pieces.data(), whole.size() * 4), 0) << info.name;
  }
}

TEST(PyTorch, BothLayoutsGiveTheTensors) {
  const auto values = TensorFile::open(kFormats + "ckpt_values.safetensors");
  for (const char* name : {"zip.ckpt", "legacy.ckpt"}) {
    SCOPED_TRACE(name);
    const TensorFile file = TensorFile::open(kFormats + name);
    expect_same_tensors(file, values);
    const std::map<std::string, std::string>& meta = file.metadata();
    EXPECT_EQ(meta.at("epoch"), "3");
    EXPECT_EQ(meta.at("global_step"), "470000");  // numpy's
    EXPECT_EQ(meta.at("loss"), "0.25");
    EXPECT_EQ(meta.at("lr"), "0.5");
    EXPECT_EQ(meta.at("name"), "tiny");
  }
  EXPECT_EQ(TensorFile::open(kFormats + "zip.ckpt").container(), Container::pytorch_zip);
  EXPECT_EQ(TensorFile::open(kFormats + "legacy.ckpt").container(), Container::pytorch_legacy);
}

TEST(PyTorch, NewDtypesAndNestedNames) {
  const TensorFile file = TensorFile::open(kFormats + "new_dtypes.pt");
  EXPECT_EQ(file.find("e4m3")->dtype, DType::f8_e4m3);
  EXPECT_EQ(file.find("e5m2")->dtype, DType::f8_e5m2);
  EXPECT_EQ(file.find("u16")->dtype, DType::u16);
  EXPECT_EQ(file.tensor("u16").data<uint16_t>()[3], 3);
  const TensorFile nested = TensorFile::open(kFormats + "nested.pth");
  EXPECT_EQ(nested.tensors().size(), 2u);
  EXPECT_NE(nested.find("deeper.b"), nullptr) << "\"model\" is what the weights were laid in";
}

TEST(PyTorch, OpeningCopiesNothing) {
  const TensorFile file = TensorFile::open(kFormats + "zip.ckpt");
  EXPECT_EQ(file.tensor("bf16").raw(), file.tensor("bf16").raw());
  EXPECT_NE(file.tensor("transposed").raw(), file.tensor("transposed").raw());  // a view with strides is copied
}

// Every file cut short, and every byte changed: read, or refused in one line.
TEST(PyTorch, BrokenFilesAreRefused) {
  for (const char* name : {"zip.ckpt", "legacy.ckpt"}) {
    const std::string whole = read_all(kFormats + name);
    const auto parse = [&](const std::string& text) {
      return returns_or_refuses([&] {
        if (name[0] == 'z')
          read_pytorch_zip(bytes_of(text), "x");
        else
          read_pytorch_legacy(bytes_of(text), "x");
      });
    };
    EXPECT_TRUE(parse(whole));
    for (size_t size = 0; size < whole.size(); size += 3) EXPECT_FALSE(parse(whole.substr(0, size))) << size;
    for (size_t at = 0; at < whole.size(); ++at)
      for (const char flip : {'\x01', '\x80', '\xff'}) {
        std::string changed = whole;
        changed[at] = static_cast<char>(changed[at] ^ flip);
        parse(changed);
      }
  }
}

// ---- pickles -------------------------------------------------------------------------------------------------------

std::string refused(const std::string& pickle) {
  return error_of([&] { Pickle(bytes_of(pickle), "x.ckpt").named_tensors("x.ckpt"); });
}

TEST(Pickle, ImportsOutsideTheListAreRefusedByName) {
  EXPECT_HAS(refused("cos\nsystem\n(S'touch pwned'\ntR."), "'os.system'");
  EXPECT_HAS(refused("\x80\x02"
                     "cposix\nsystem\nX\x02\0\0\0id\x85R."),
             "'posix.system'");
  EXPECT_HAS(refused("\x80\x04\x8c\x08"
                     "builtins\x8c\x04"
                     "eval\x93\x8c\x03"
                     "1+1\x85R."),
             "'builtins.eval'");
  EXPECT_HAS(refused("c__builtin__\nexec\n."), "'__builtin__.exec'");
  EXPECT_HAS(refused("csubprocess\nPopen\n."), "nothing was run");
  EXPECT_HAS(refused("ctorch.storage\n_load_from_bytes\n."), "_load_from_bytes");
  EXPECT_HAS(refused("ctorch\nload\n."), "'torch.load'");
  EXPECT_HAS(refused("cbuiltins\ngetattr\n."), "'builtins.getattr'");
  EXPECT_HAS(refused("cnumpy\nload\n."), "'numpy.load'");
}

TEST(Pickle, OpcodesThatRunAreRefusedByName) {
  const struct {
    std::string pickle;
    const char* word;
  } cases[] = {
      {"(S'id'\nios\nsystem\n.", "INST"},
      {"(S'id'\nios\nsystem\n.", "'os.system'"},
      {"(ccollections\nOrderedDict\no.", "OBJ"},
      {"\x80\x02"
       "ccollections\nOrderedDict\n)\x81.",
       "NEWOBJ"},
      {"\x80\x04"
       "ccollections\nOrderedDict\n)}\x92.",
       "NEWOBJ_EX"},
      {"\x80\x02\x82\x01.", "EXT1"},
      {std::string("\x80\x02\x83\x01\0.", 6), "EXT2"},
      {std::string("\x80\x02\x84\x01\0\0\0.", 8), "EXT4"},
      {"Psomething\n.", "PERSID"},
      {"\x80\x05\x97.", "NEXT_BUFFER"},
      {"\x80\x05\x98.", "READONLY_BUFFER"},
      {std::string("\x80\x05\x96\0\0\0\0\0\0\0\0.", 12), "BYTEARRAY8"},
      {"N)R.", "REDUCE"},                       // what is called is no function
      {"ctorch\nFloatStorage\n)R.", "REDUCE"},  // may be named, not called
      {"]}b.", "BUILD"},                        // state of a list
      {"S'x'\nQ.", "BINPERSID"},
      {"\xff.", "0xff"},
  };
  for (const auto& [pickle, word] : cases) EXPECT_HAS(refused(pickle), word);
}

// Every byte as an opcode, on an empty and on a filled stack: an error in one line or a value, never more.
TEST(Pickle, EveryOpcodeIsReadOrRefused) {
  for (int code = 0; code < 256; ++code)
    for (const std::string before : {"", "(", "(NN", "(}K\x01K\x02", "(]N", "(X\x01\0\0\0a"})
      for (const std::string after : {".", "\x01.", "1\n.", "a\nb\n.", "\x01\0\0\0\0\0\0\0a."})
        returns_or_refuses([&] { Pickle(bytes_of(before + static_cast<char>(code) + after), "x"); });
}

TEST(Pickle, DeepNestingIsRefused) {
  EXPECT_HAS(refused(std::string(100000, '(') + "."), "stack");
  std::string lists;
  for (int i = 0; i < 100000; ++i) lists += "]";
  for (int i = 0; i < 99999; ++i) lists += "a";
  EXPECT_HAS(refused(lists + "."), "nested");
  std::string tuples = "N";
  for (int i = 0; i < 100000; ++i) tuples += '\x85';
  EXPECT_HAS(refused(tuples + "."), "nested");
  std::string dicts = "}";
  for (int i = 0; i < 40; ++i)
    dicts += std::string(
        "U\x01"
        "a}",
        4);
  for (int i = 0; i < 40; ++i) dicts += "s";
  EXPECT_HAS(refused(dicts + "."), "nested at most 32");
}

TEST(Pickle, BombsAreRefused) {
  // Thirty dictionaries, each twice the one before: a billion entries.
  std::string laughs = "}q\x01";
  for (int i = 1; i < 30; ++i) {
    const std::string below = std::string("h") + static_cast<char>(i);
    laughs +=
        "0}U\x01"
        "a" +
        below +
        "sU\x01"
        "b" +
        below + "sq" + static_cast<char>(i + 1);
  }
  EXPECT_HAS(refused(laughs + "."), "entries");
  // A memo index of four billion takes no memory of that size.
  EXPECT_HAS(refused(std::string("Nr\xff\xff\xff\xff"
                                 "0(.",
                                 9)),
             "stack");
  // Values by the million.
  EXPECT_HAS(refused(std::string(2'100'000, 'N') + "."), "values");
  EXPECT_HAS(refused("N" + std::string(2'100'000, '2') + "."), "values");
  std::string sets = "(" + std::string(1'000'000, 'N') +
                     "lq\x01"
                     "0";
  for (int i = 0; i < 100; ++i) sets += "cbuiltins\nset\nh\x01\x85R0";
  EXPECT_HAS(refused(sets + "."), "items");
}

TEST(Pickle, LyingLengthsAreRefused) {
  EXPECT_HAS(refused(std::string("X\xff\xff\xff\xff"
                                 "abc.",
                                 9)),
             "4294967295");
  EXPECT_HAS(refused(std::string("\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", 10)), "truncated");
  EXPECT_HAS(refused(std::string("\x8b\xff\xff\xff\x7f.", 6)), "truncated");
  EXPECT_HAS(refused("}"), "truncated");
  EXPECT_HAS(refused(""), "truncated");
  EXPECT_HAS(refused("h\x07."), "remembered");
  EXPECT_HAS(refused("NN."), "one value");
  EXPECT_HAS(refused("\x80\x09N."), "protocol");
  EXPECT_HAS(refused("N."), "dictionary");
}

/// A tensor's pickle with these texts for offset, size and stride.
std::string tensor_pickle(const std::string& offset, const std::string& size, const std::string& stride,
                          const std::string& elements = "I6\n") {
  return "}S'a'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\n" + elements +
         "tQ" + offset + size + stride + "I00\n}tRs.";
}

std::string zip_of(const std::vector<std::pair<std::string, std::string>>& files, uint16_t method = 0,
                   uint16_t flags = 0, int64_t shift = 0) {
  const auto put = [](std::string& out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  };
  std::string out, directory;
  for (const auto& [name, data] : files) {
    const size_t at = out.size();
    put(out, 0x04034b50, 4);
    for (const uint64_t value : {uint64_t{20}, uint64_t{flags}, uint64_t{method}, uint64_t{0}, uint64_t{0}})
      put(out, value, 2);
    for (const uint64_t value : {uint64_t{0}, uint64_t{data.size()}, uint64_t{data.size()}}) put(out, value, 4);
    put(out, name.size(), 2);
    put(out, 0, 2);
    out += name + data;
    put(directory, 0x02014b50, 4);
    for (const uint64_t value :
         {uint64_t{20}, uint64_t{20}, uint64_t{flags}, uint64_t{method}, uint64_t{0}, uint64_t{0}})
      put(directory, value, 2);
    for (const uint64_t value : {uint64_t{0}, uint64_t{data.size()}, uint64_t{data.size()}}) put(directory, value, 4);
    put(directory, name.size(), 2);
    for (int i = 0; i < 4; ++i) put(directory, 0, 2);
    put(directory, 0, 4);
    put(directory, static_cast<uint64_t>(static_cast<int64_t>(at) + shift), 4);
    directory += name;
  }
  const size_t at = out.size();
  out += directory;
  put(out, 0x06054b50, 4);
  for (const uint64_t value : {uint64_t{0}, uint64_t{0}, uint64_t{files.size()}, uint64_t{files.size()}})
    put(out, value, 2);
  put(out, directory.size(), 4);
  put(out, at, 4);
  put(out, 0, 2);
  return out;
}

std::string refused_tensor(const std::string& pickle, size_t storage = 24) {
  const std::string archive = zip_of({{"x/data.pkl", pickle}, {"x/data/0", std::string(storage, '\0')}});
  return error_of([&] { read_pytorch_zip(bytes_of(archive), "x.ckpt"); });
}

TEST(Pickle, TensorsStayInTheirStorage) {
  const std::string good =
      zip_of({{"x/data.pkl", tensor_pickle("I0\n", "(I2\nI3\nt", "(I3\nI1\nt")}, {"x/data/0", std::string(24, '\0')}});
  EXPECT_EQ(read_pytorch_zip(bytes_of(good), "x").tensors.at(0).shape, (Shape{2, 3}));
  EXPECT_HAS(refused_tensor(tensor_pickle("I1\n", "(I2\nI3\nt", "(I3\nI1\nt")), "outside its storage");
  EXPECT_HAS(refused_tensor(tensor_pickle("I7\n", "(I0\nt", "(I1\nt")), "outside its storage");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I2\nI4\nt", "(I3\nI1\nt")), "outside its storage");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I1000000\nI6\nt", "(I0\nI1\nt")), "more elements");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I4611686018427387904\nI8\nt", "(I1\nI1\nt")), "overflow");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I4\nI8\nt", "(I9223372036854775807\nI1\nt")), "overflow");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I-1\nt", "(I1\nt")), "from 0");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I2\nt", "(I-1\nt")), "from 0");
  EXPECT_HAS(refused_tensor(tensor_pickle("I-3\n", "(I2\nt", "(I1\nt")), "offset");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I2\nt", "(I1\nI1\nt")), "lengths");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I2\nt", "(I1\nt", "I-6\n")), "elements");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I2\nt", "(I1\nt", "I4611686018427387905\n")), "elements");
  EXPECT_HAS(refused_tensor(tensor_pickle("I0\n", "(I2\nt", "(I1\nt"), 20), "24 bytes, found 20");
  const std::string lost = zip_of({{"x/data.pkl", tensor_pickle("I0\n", "(I2\nt", "(I1\nt")}});
  EXPECT_HAS(error_of([&] { read_pytorch_zip(bytes_of(lost), "x"); }), "storage '0' is missing");
}

// ---- archives ------------------------------------------------------------------------------------------------------

std::string refused_zip(const std::string& archive) {
  return error_of([&] { read_zip_directory(bytes_of(archive), "x.ckpt"); });
}

TEST(Zip, TricksAreRefused) {
  EXPECT_EQ(read_zip_directory(bytes_of(zip_of({{"a/b", "123"}})), "x").at("a/b").size, 3u);
  EXPECT_EQ(read_zip_directory(bytes_of(zip_of({}) + ""), "x").size(), 0u);
  // Bombs: compressed entries, entries over each other, one entry under many names.
  EXPECT_HAS(refused_zip(zip_of({{"a", "123"}}, 8)), "compressed");
  EXPECT_HAS(refused_zip(zip_of({{"a", "123"}, {"a", "456"}})), "twice");
  std::string overlap = zip_of({{"a", std::string(40, 'x')}, {"b", "y"}});
  const size_t second = overlap.rfind("PK\x01\x02");
  for (int i = 0; i < 4; ++i) overlap[second + 42 + static_cast<size_t>(i)] = 0;
  EXPECT_HAS(refused_zip(overlap), "something else");  // the header there is a's
  EXPECT_HAS(refused_zip(zip_of({{"a", "123"}}, 0, 1)), "encrypted");
  for (const char* name : {"../a", "a/../b", "/etc/passwd", "..", "a\\b", "a\nb", ""})
    EXPECT_HAS(refused_zip(zip_of({{name, "1"}})), "relative name");
  EXPECT_HAS(refused_zip(zip_of({{"a", "123"}}, 0, 0, 1)), "header");
  EXPECT_HAS(refused_zip(zip_of({{"a", "123"}}, 0, 0, 1 << 30)), "header");
  EXPECT_HAS(refused_zip("PK\x03\x04"), "22 bytes");
  EXPECT_HAS(refused_zip(std::string(100, 'x')), "directory");
  std::string larger = zip_of({{"a", "123"}});
  larger[larger.rfind("PK\x01\x02") + 24] = 100;
  larger[larger.rfind("PK\x01\x02") + 20] = 100;
  EXPECT_HAS(refused_zip(larger), "100 bytes");
  std::string many = zip_of({{"a", "123"}});
  many[many.size() - 12] = '\xff';
  EXPECT_HAS(refused_zip(many), "entry 1");
}

TEST(Zip, OtherArchivesAreTold) {
  const auto open = [](const std::string& archive) {
    return error_of([&] { read_pytorch_zip(bytes_of(archive), "x.pt"); });
  };
  EXPECT_HAS(open(zip_of({{"readme", "x"}})), "without data.pkl");
  EXPECT_HAS(open(zip_of({{"x/data.pkl", "}."}, {"x/constants.pkl", ")."}})), "TorchScript");
  EXPECT_HAS(open(zip_of({{"x/data.pkl", "}."}, {"y/data.pkl", "}."}})), "two");
  EXPECT_HAS(open(zip_of({{"x/data.pkl", "}."}, {"x/byteorder", "big"}})), "little-endian");
  EXPECT_HAS(open(zip_of({{"x/data.pkl", "}."}})), "found none");
}

TEST(TensorFile, WhatIsNoWeightFileIsTold) {
  const TestFolder folder;
  const auto open = [&](const std::string& name, const std::string& bytes) {
    return error_of([&] { TensorFile::open(folder.write(name, bytes)); });
  };
  EXPECT_HAS(open("a.ckpt", "version https://git-lfs.github.com/spec/v1\n"), "Git LFS");
  EXPECT_HAS(open("a.safetensors", "<!DOCTYPE html>"), "web page");
  EXPECT_HAS(open("a.pth", std::string(257, '\0') + "ustar"), "tar layout");
  EXPECT_HAS(open("a.bin", "\x1f\x8b more"), "compressed");
  EXPECT_HAS(open("a.ckpt", "hello there"), "found none of them");
  EXPECT_HAS(open("a.safetensors", "hello there"), "header");
  EXPECT_HAS(open("a.ckpt", ""), "");
  EXPECT_HAS(open("a.pt", "\x80\x02}q\x01."), "another pickle");
}

}  // namespace
}  // namespace easel::io
