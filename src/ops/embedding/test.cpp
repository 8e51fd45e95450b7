#include "ops/harness.h"

namespace easel::ops::testing {

OpTests embedding_tests() {
  OpTests tests;
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t n : {1, 5, 32, 768})
      tests.cases.push_back(
          {.attrs = EmbeddingAttrs{},
           .inputs = {{.shape = {2, 77}, .dtype = DType::i32, .low = 0, .high = 48}, weight({49, n}, dtype)},
           .tolerance = 1e-6});
  std::vector<BlockFormat> encodings(std::begin(kBlockFormats), std::end(kBlockFormats));
  encodings.insert(encodings.end(), {BlockFormat::f8_e4m3, BlockFormat::f8_e5m2});
  for (const BlockFormat encoding : encodings)
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
      tests.cases.push_back(
          {.attrs = EmbeddingAttrs{},
           .inputs = {{.shape = {2, 7}, .dtype = DType::i32, .low = 0, .high = 18}, blocks({19, 512}, encoding, dtype)},
           .tolerance = 1e-6});
  // Ids outside the table meet its ends.
  tests.cases.push_back({.attrs = EmbeddingAttrs{},
                         .inputs = {{.shape = {2, 2}, .dtype = DType::i32, .values = {1, 0, -5, 7}},
                                    {.shape = {3, 2}, .constant = true, .values = {1, 2, 3, 4, 5, 6}}},
                         .expected = {3, 4, 1, 2, 1, 2, 5, 6}});
  tests.benchmarks.push_back(
      {.attrs = EmbeddingAttrs{},
       .inputs = {{.shape = {2, 77}, .dtype = DType::i32, .low = 0, .high = 49407}, weight({49408, 768})},
       .bytes = 2.0 * 2 * 77 * 768 * 4});
  return tests;
}

}  // namespace easel::ops::testing
