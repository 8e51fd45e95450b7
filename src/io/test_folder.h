// A folder for one test, removed afterwards; and checks of error messages.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <easel/error.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace easel::io {

class TestFolder {
 public:
  TestFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "easel-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(*this / name, std::ios::binary) << bytes;
    return *this / name;
  }
  size_t entries() const {
    const auto folder = std::filesystem::directory_iterator(path_);
    return static_cast<size_t>(std::distance(begin(folder), end(folder)));
  }

 private:
  std::string path_;
};

inline std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Calls it: true if it returns. An Error must have this code and be one line, which goes to `message` where given.
template <typename Call>
bool returns_or_refuses(Call&& call, ErrorCode code = ErrorCode::io, std::string* message = nullptr) {
  try {
    call();
    return true;
  } catch (const Error& error) {
    EXPECT_EQ(to_string(error.code()), std::string(to_string(code))) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    if (message) *message = error.what();
    return false;
  }
}

/// The message of the Error that `call` throws, which must have this code and be one line; "" if none is thrown.
template <typename Call>
std::string error_of(Call&& call, ErrorCode code = ErrorCode::io) {
  std::string message;
  if (returns_or_refuses(call, code, &message)) ADD_FAILURE() << "expected an Error";
  return message;
}

#define EXPECT_HAS(text, part)                               \
  do {                                                       \
    const std::string text_ = (text);                        \
    EXPECT_NE(text_.find(part), std::string::npos) << text_; \
  } while (false)

}  // namespace easel::io
