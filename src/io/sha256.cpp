#include "io/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "base/fail.h"
#include "io/mapped_file.h"

namespace easel::io {

std::string sha256_of_file(const std::string& path, const std::function<void(uint64_t, uint64_t)>& progress,
                           uint64_t begin) {
  constexpr uint64_t kPiece = 16 << 20;
  const auto file = MappedFile::open(path);
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (!context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1)
    fail(ErrorCode::internal, "SHA-256 is not available in libcrypto");
  const uint64_t size = file->bytes().size();
  for (uint64_t at = begin; at < size; at += kPiece) {
    const uint64_t piece = std::min(kPiece, size - at);
    if (progress) progress(at, size);
    EVP_DigestUpdate(context.get(), file->bytes().data() + at, piece);
    file->release(at, at + piece);  // a file of gigabytes must not fill the memory
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(context.get(), digest, &length);
  std::string out;
  for (unsigned i = 0; i < length; ++i) out += fmt::format("{:02x}", digest[i]);
  return out;
}

}  // namespace easel::io
