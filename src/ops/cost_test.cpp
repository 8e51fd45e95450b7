// Costs worked out by hand.
#include <gtest/gtest.h>

#include "ops/cost.h"

namespace easel::ops {
namespace {

ArgType arg(Shape shape, DType dtype = DType::f32) { return {dtype, shape, contiguous_strides(shape), false}; }

TEST(Cost, LinearLayersCountEveryColumnOfTheWeight) {
  const OpCall call{LinearAttrs{.bias = true, .activation = Activation::geglu},
                    {arg({2, 3, 5}), arg({8, 5}, DType::bf16), arg({8})},
                    arg({2, 3, 4})};
  EXPECT_EQ(flops_of(call), 2 * 6 * 5 * 8);
  EXPECT_EQ(bytes_of(call), 4 * 30 + 2 * 40 + 4 * 8 + 4 * 24);
  EXPECT_EQ(op_class_of(call), OpClass::linear);
  EXPECT_EQ(product_dtype_of(call), DType::bf16);
  EXPECT_EQ(shapes_of(call), "f32 [2, 3, 5] bf16 [8, 5] f32 [8] -> f32 [2, 3, 4]");
}

TEST(Cost, ConvolutionsAreClassedByTheirKernel) {
  const auto conv = [](int64_t h, int64_t w) {
    return OpCall{Conv2dAttrs{}, {arg({1, 8, 8, 4}), arg({6, 4, h, w})}, arg({1, 9 - h, 9 - w, 6})};
  };
  EXPECT_EQ(flops_of(conv(3, 3)), 2 * 6 * 6 * 6 * 4 * 9);
  EXPECT_EQ(op_class_of(conv(3, 3)), OpClass::conv_3x3);
  EXPECT_EQ(op_class_of(conv(1, 1)), OpClass::conv_1x1);
  EXPECT_EQ(op_class_of(conv(1, 3)), OpClass::conv_other);
  const OpCall pointwise{LinearAttrs{}, {arg({1, 8, 8, 4}), arg({6, 4})}, arg({1, 8, 8, 6})};
  EXPECT_EQ(op_class_of(pointwise), OpClass::conv_1x1);
  EXPECT_EQ(flops_of(pointwise), flops_of(conv(1, 1)));
}

TEST(Cost, AttentionAndItsPartsAgree) {
  const OpCall whole{AttentionAttrs{.heads = 2, .precision = DType::bf16},
                     {arg({3, 5, 8}), arg({3, 7, 8}), arg({3, 7, 8})},
                     arg({3, 5, 8})};
  const OpCall scores{MatmulAttrs{.transpose_b = true}, {arg({3, 2, 5, 4}), arg({3, 2, 7, 4})}, arg({3, 2, 5, 7})};
  const OpCall values{MatmulAttrs{}, {arg({3, 2, 5, 7}), arg({3, 2, 7, 4})}, arg({3, 2, 5, 4})};
  EXPECT_EQ(flops_of(whole), flops_of(scores) + flops_of(values));
  EXPECT_EQ(op_class_of(whole), OpClass::attention);
  EXPECT_EQ(op_class_of(scores), OpClass::attention);
  EXPECT_EQ(product_dtype_of(whole), DType::bf16);
  EXPECT_EQ(product_dtype_of(scores), DType::f32);
}

TEST(Cost, TheRestIsCountedInBytes) {
  const OpCall norm{GroupNormAttrs{}, {arg({1, 4, 32}), arg({32}), arg({32})}, arg({1, 4, 32})};
  EXPECT_EQ(flops_of(norm), 0);
  EXPECT_EQ(bytes_of(norm), 4 * (128 + 32 + 32 + 128));
  EXPECT_EQ(op_class_of(norm), OpClass::norm);
  EXPECT_EQ(op_class_of({ActivationAttrs{}, {arg({4})}, arg({4})}), OpClass::elementwise);
  EXPECT_EQ(op_class_of({ConcatAttrs{}, {arg({4})}, arg({4})}), OpClass::movement);
}

}  // namespace
}  // namespace easel::ops
