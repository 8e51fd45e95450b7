// What a plan says of memory, at full size, where no weights are needed. That plans hold is tested with small models in
// text_to_image_test.cpp.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include <easel/error.h>
#include <easel/pipeline.h>

namespace easel {
namespace {

struct Plan {
  int64_t encoding, denoising, decoding, peak;
  std::map<std::string, int64_t> weights;
  bool one_at_a_time;
};

LoadOptions options() {
  LoadOptions o;
  o.plan_only = true;
  o.unet = o.vae = o.text_encoder = Precision::fp32;
  return o;
}

Plan plan_of(const LoadOptions& o) {
  const auto pipeline = TextToImagePipeline::load(EASEL_SOURCE_DIR "/bench/configs/sd15", o);
  const auto json = nlohmann::json::parse(pipeline.describe_json({}));
  const nlohmann::json& memory = json["memory"];
  Plan plan{memory["encoding"],
            memory["denoising"],
            memory["decoding"],
            json["peak_memory_bytes"],
            {},
            memory["one_component_at_a_time"]};
  for (const nlohmann::json& part : json["components"]) plan.weights[part["name"]] = part["weight_bytes"];
  return plan;
}

TEST(Residency, OffloadKeepsOnlyTheComponentInUsePacked) {
  const Plan all = plan_of(options());
  LoadOptions o = options();
  o.offload = true;
  const Plan one = plan_of(o);
  EXPECT_FALSE(all.one_at_a_time);
  EXPECT_TRUE(one.one_at_a_time);
  const int64_t text = all.weights.at("text_encoder"), unet = all.weights.at("unet"),
                vae = all.weights.at("vae (decoder)");
  ASSERT_GT(text, int64_t{400} << 20);
  EXPECT_EQ(one.encoding, all.encoding);
  EXPECT_EQ(one.denoising, all.denoising - text);
  EXPECT_LE(one.decoding, all.decoding - text - unet);
  EXPECT_GE(one.decoding, vae);
  EXPECT_LT(one.decoding, unet);
  EXPECT_GE(one.denoising, unet);
}

TEST(Residency, PlansStayWithinTheLimitOrSayWhatWouldFit) {
  const Plan all = plan_of(options());
  LoadOptions o = options();
  int planned = 0, refused = 0;
  for (const int percent : {101, 90, 86, 60, 30}) {
    const int64_t limit = o.memory_limit = all.peak / 100 * percent;
    try {
      EXPECT_LE(plan_of(o).peak, limit);
      ++planned;
    } catch (const Error& error) {
      ++refused;
      const std::string text = error.what();
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
      EXPECT_NE(text.find("are allowed by --memory-limit; "), std::string::npos) << text;
      EXPECT_TRUE(text.find("would fit: --dtype bf16") != std::string::npos ||
                  text.find("would fit: --width") != std::string::npos ||
                  text.find("no size would fit: the UNet's weights take") != std::string::npos)
          << text;
    }
  }
  EXPECT_EQ(planned, 3);
  EXPECT_EQ(refused, 2);
}

}  // namespace
}  // namespace easel
