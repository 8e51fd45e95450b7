#include "ops/embedding/embedding.h"

namespace easel::ops {

ValueType infer(const EmbeddingAttrs& attrs, Inputs inputs) {
  expect_inputs("embedding", inputs, 2);
  const ValueType &ids = inputs[0], &table = inputs[1];
  expect_rank("embedding", "ids", ids, 1, kMaxRank - 1);
  expect_rank("embedding", "table", table, 2, 2);
  if (ids.dtype != DType::i32)
    fail(ErrorCode::shape_mismatch, "embedding: expected i32 ids, found {}", easel::to_string(ids.dtype));
  ValueType y{DType::f32, ids.shape};
  y.shape.push_back(table.shape[1]);
  return y;
}

std::string to_string(const EmbeddingAttrs& attrs) { return ""; }

}  // namespace easel::ops
