#include "text/lora_tags.h"

#include <gtest/gtest.h>

#include <easel/error.h>

namespace easel::text {
namespace {

TEST(LoraTags, AreTakenOutOfThePrompt) {
  const TaggedPrompt found =
      take_lora_tags("a cat <lora:ink:0.7>, <lyco:oil paint>sea<lora:a.b-c:1:0.25><lora:x:te=0.5:unet=2> end");
  EXPECT_EQ(found.text, "a cat , sea end");
  EXPECT_EQ(found.loras,
            (std::vector<LoraTag>{{"ink", 0.7, 0.7}, {"oil paint", 1, 1}, {"a.b-c", 1, 0.25}, {"x", 0.5, 2}}));
}

TEST(LoraTags, EverythingElseIsText) {
  for (const char* text :
       {"a < b > c", "<lora>", "<lora:>", "<hypernet:x:1>", "<lora:open", "<<lora", "<", "", "2 <3"}) {
    const TaggedPrompt found = take_lora_tags(text);
    EXPECT_EQ(found.text, text);
    EXPECT_TRUE(found.loras.empty()) << text;
  }
  EXPECT_EQ(take_lora_tags("<<lora:x:1>").text, "<");
}

TEST(LoraTags, WeightsAreNumbers) {
  for (const char* text : {"<lora:x:abc>", "<lora:x:1:nan>", "<lora:x:te=>", "<lora:x:inf>", "<lora:x:>"})
    EXPECT_THROW(take_lora_tags(text), Error) << text;
  EXPECT_EQ(take_lora_tags("<lora:x:-1.5>").loras[0].unet_weight, -1.5);
}

}  // namespace
}  // namespace easel::text
