// Names of LoRA layers, and adapters of a pipeline: put in, changed, taken out. What they draw is in tests/e2e.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include <easel/error.h>
#include <easel/pipeline.h>

#include "io/safetensors.h"
#include "io/test_folder.h"
#include "pipelines/adapters.h"
#include "pipelines/lora_targets.h"
#include "pipelines/model_tensors.h"
#include "pipelines/test_pipeline.h"
#include "tensor/test_tensors.h"

namespace easel::pipelines {
namespace {

const std::string kModel = EASEL_SOURCE_DIR "/tests/goldens/sd15/a";
const std::string kLoras = EASEL_SOURCE_DIR "/tests/goldens/lora/";

models::UNet2DConditionConfig sdxl() {
  models::UNet2DConditionConfig config;
  config.cross_attention_dim = 2048;
  config.levels = {{.channels = 320, .layers = 2},
                   {.channels = 640, .layers = 2, .heads = 10},
                   {.channels = 1280, .layers = 2, .heads = 20}};
  config.levels[1].set_attention(2);
  config.levels[2].set_attention(10);
  config.mid_attention_layers = 10;
  config.mid_heads = 20;
  config.use_linear_projection = true;
  config.addition_embed_type = models::AddedEmbedding::text_time;
  config.pooled_dim = 1280;
  config.projection_class_embeddings_input_dim = 2816;
  return config;
}

TEST(LoraTargets, SdxlInTheNamesOfKohyaAndOthers) {
  LoraTargets targets;
  targets.add_unet(unet_weights(sdxl()), sdxl());
  const std::pair<const char*, const char*> kNames[] = {
      {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
       "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"},
      {"lora_unet_input_blocks_8_1_transformer_blocks_9_ff_net_0_proj",
       "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj"},
      {"lora_unet_input_blocks_7_1_proj_in", "down_blocks.2.attentions.0.proj_in"},
      {"lora_unet_middle_block_1_transformer_blocks_3_attn2_to_out_0",
       "mid_block.attentions.0.transformer_blocks.3.attn2.to_out.0"},
      {"lora_unet_output_blocks_0_1_transformer_blocks_9_attn2_to_k",
       "up_blocks.0.attentions.0.transformer_blocks.9.attn2.to_k"},
      {"lora_unet_output_blocks_5_1_proj_out", "up_blocks.1.attentions.2.proj_out"},
      {"lora_unet_output_blocks_2_2_conv", "up_blocks.0.upsamplers.0.conv"},
      {"lora_unet_input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"},
      {"lora_unet_input_blocks_1_0_in_layers_2", "down_blocks.0.resnets.0.conv1"},
      {"lora_unet_input_blocks_4_0_skip_connection", "down_blocks.1.resnets.0.conv_shortcut"},
      {"lora_unet_output_blocks_8_0_emb_layers_1", "up_blocks.2.resnets.2.time_emb_proj"},
      {"lora_unet_input_blocks_0_0", "conv_in"},
      {"lora_unet_out_2", "conv_out"},
      {"lora_unet_time_embed_2", "time_embedding.linear_2"},
      {"lora_unet_down_blocks_1_attentions_0_proj_in", "down_blocks.1.attentions.0.proj_in"},
      {"lycoris_mid_block_resnets_1_conv2", "mid_block.resnets.1.conv2"},
      {"unet.mid_block.attentions.0.proj_in", "mid_block.attentions.0.proj_in"},
      {"mid_block.attentions.0.transformer_blocks.0.attn1.to_out",
       "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"},
      {"diffusion_model.input_blocks.4.1.proj_in", "down_blocks.1.attentions.0.proj_in"}};
  for (const auto& [name, ours] : kNames) {
    const LoraTarget* found = targets.find(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->module, ours) << name;
    EXPECT_EQ(found->component, "unet");
  }
  EXPECT_EQ(targets.find("lora_unet_input_blocks_4_1_transformer_blocks_2_attn1_to_q"), nullptr);
  EXPECT_EQ(targets.find("lora_te1_text_model_encoder_layers_0_mlp_fc1"), nullptr);
}

TEST(LoraTargets, TwoTextEncoders) {
  models::ClipTextConfig small, large;
  small.num_hidden_layers = 2;
  large.num_hidden_layers = 3;
  large.hidden_size = 1280;
  large.num_attention_heads = 20;
  LoraTargets targets;
  targets.add_text_encoder(text_encoder_weights(small), 1);
  targets.add_text_encoder(text_encoder_weights(large), 2);
  const auto expect = [&](const std::string& name, const std::string& component, const std::string& module) {
    const LoraTarget* found = targets.find(name);
    ASSERT_NE(found, nullptr) << name;
    EXPECT_EQ(found->component, component) << name;
    EXPECT_EQ(found->module, module) << name;
  };
  const std::string q = "encoder.layers.1.self_attn.q_proj";
  expect("lora_te_text_model_encoder_layers_1_self_attn_q_proj", "text_encoder", q);
  expect("lora_te1_text_model_encoder_layers_1_self_attn_q_proj", "text_encoder", q);
  expect("lora_te2_text_model_encoder_layers_1_self_attn_q_proj", "text_encoder_2", q);
  expect("text_encoder.text_model." + q, "text_encoder", q);
  expect("text_encoder.text_model.encoder.layers.1.self_attn.to_q", "text_encoder", q);
  expect("text_encoder_2.text_model." + q, "text_encoder_2", q);
  expect("text_encoders.clip_g.transformer.text_model." + q, "text_encoder_2", q);
  expect("text_model." + q, "text_encoder", q);
  expect("lora_te2_text_model_encoder_layers_2_mlp_fc2", "text_encoder_2", "encoder.layers.2.mlp.fc2");
  EXPECT_EQ(targets.find("lora_te1_text_model_encoder_layers_2_mlp_fc2"), nullptr);
}

TEST(LoraFile, TellsKindsRanksAlphasAndFamilies) {
  const auto kohya = LoraFile::open(kLoras + "kohya.safetensors");
  EXPECT_EQ(kohya->naming(), "kohya");
  EXPECT_EQ(kohya->family().name, "Stable Diffusion 1.x");
  EXPECT_TRUE(kohya->other_tensors().empty());
  for (const LoraLayer& layer : kohya->layers()) {
    EXPECT_EQ(layer.kind, LoraLayer::Kind::lora);
    ASSERT_TRUE(layer.alpha);
    EXPECT_NEAR(layer.scale, *layer.alpha / static_cast<double>(layer.rank), 1e-12);
  }
  const auto folder = LoraFile::open(kLoras + "peft_lora");
  EXPECT_EQ(folder->naming(), "peft");
  bool special = false;
  for (const LoraLayer& layer : folder->layers()) {
    const bool own = layer.module.ends_with("attn1.to_out.0");
    special |= own;
    EXPECT_NEAR(layer.scale, own ? 7 / std::sqrt(2.0) : 4 / std::sqrt(3.0), 1e-12) << layer.key;
  }
  EXPECT_TRUE(special);
  EXPECT_EQ(LoraFile::open(kLoras + "lycoris_lokr.safetensors")->layers().front().kind, LoraLayer::Kind::lokr);
  EXPECT_EQ(LoraFile::open(kLoras + "lycoris_loha.safetensors")->layers().front().kind, LoraLayer::Kind::loha);
  EXPECT_TRUE(LoraFile::open(kLoras + "dora.safetensors")->layers().front().dora());
  EXPECT_EQ(LoraFile::open(kLoras + "diffusers.safetensors")->naming(), "diffusers");
  EXPECT_EQ(LoraFile::open(kLoras + "no_alpha.safetensors")->layers().front().scale, 1);
}

TextToImageRequest request(const std::vector<Lora>& loras = {}) {
  TextToImageRequest out;
  out.prompt = "a red balloon";
  out.steps = 2;
  out.seed = 5;
  out.width = 56;
  out.height = 40;
  out.loras = loras;
  return out;
}

TEST(Loras, ChangeFromRequestToRequestAndLeaveNoBit) {
  const Lora kohya{kLoras + "kohya.safetensors", 0.8, 0.5}, conv{kLoras + "locon.safetensors"};
  for (const bool offload : {false, true}) {
    LoadOptions o = fp32_options(2);
    o.offload = offload;
    auto pipeline = TextToImagePipeline::load(kModel, o);
    const Tensor plain = pipeline.generate(request()).latents;
    const Tensor one = pipeline.generate(request({kohya})).latents;
    const Tensor two = pipeline.generate(request({kohya, conv})).latents;
    EXPECT_FALSE(same_bits(plain, one));
    EXPECT_FALSE(same_bits(one, two));
    EXPECT_TRUE(same_bits(pipeline.generate(request({kohya})).latents, one));
    EXPECT_TRUE(same_bits(pipeline.generate(request()).latents, plain));
    // As if there had never been another request.
    EXPECT_TRUE(same_bits(TextToImagePipeline::load(kModel, o).generate(request({kohya, conv})).latents, two));
    // A weight of 0 is none.
    EXPECT_TRUE(same_bits(pipeline.generate(request({{kLoras + "dora.safetensors", 0, 0}})).latents, plain));
  }
}

TEST(Loras, AtRunTimeModesAndFilesChangeAndLeaveNoBit) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    LoadOptions o = fp32_options(2);
    o.unet = precision;
    auto pipeline = TextToImagePipeline::load(kModel, o);
    const auto draw = [&](const std::vector<Lora>& loras, LoraMode mode) {
      TextToImageRequest r = request(loras);
      r.lora_mode = mode;
      return pipeline.generate(r).latents;
    };
    const Lora a{kLoras + "kohya.safetensors", 0.7, 0}, b{kLoras + "no_alpha.safetensors"},
        c{kLoras + "locon.safetensors"}, d{kLoras + "dora.safetensors"};
    const Tensor plain = draw({}, LoraMode::merge);
    const Tensor one = draw({a}, LoraMode::runtime), merged = draw({a}, LoraMode::merge);
    EXPECT_FALSE(same_bits(one, plain));
    EXPECT_FALSE(same_bits(one, merged)) << "branches ran";
    const Tensor all = draw({a, b, c, d}, LoraMode::runtime);
    const Tensor other = draw({b}, LoraMode::runtime);
    const Tensor wider = draw({a, b}, LoraMode::runtime);  // other ranks of the same layers
    EXPECT_TRUE(same_bits(draw({a}, LoraMode::runtime), one));
    EXPECT_TRUE(same_bits(draw({a, b}, LoraMode::runtime), wider));
    EXPECT_TRUE(same_bits(draw({a}, LoraMode::runtime), one));
    EXPECT_TRUE(same_bits(draw({b}, LoraMode::runtime), other));
    EXPECT_TRUE(same_bits(draw({}, LoraMode::runtime), plain));
    EXPECT_TRUE(same_bits(draw({a}, LoraMode::merge), merged));
    EXPECT_TRUE(same_bits(draw({a, b, c, d}, LoraMode::runtime), all));
    EXPECT_TRUE(same_bits(draw({}, LoraMode::merge), plain));
    double error = 0, norm = 0;
    for (int64_t i = 0; i < one.numel(); ++i) {
      const double x = merged.data<float>()[i], e = one.data<float>()[i] - x;
      error += e * e, norm += x * x;
    }
    EXPECT_LT(std::sqrt(error / norm), precision == Precision::fp32 ? 1e-5 : 3e-2);
  }
}

TEST(Loras, PromptsWithDifferentOnesAreEncodedAhead) {
  const Lora kohya{kLoras + "kohya.safetensors", 1, 1};
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options(2));
  const Tensor plain = pipeline.generate(request()).latents, with = pipeline.generate(request({kohya})).latents;
  LoadOptions o = fp32_options(2);
  o.keep_text_encoder = false;
  auto batch = TextToImagePipeline::load(kModel, o);
  batch.encode_prompts({request({kohya}), request(), request({kohya})});
  EXPECT_TRUE(same_bits(batch.generate(request({kohya})).latents, with));
  EXPECT_TRUE(same_bits(batch.generate(request()).latents, plain));
}

TEST(Loras, TagsOfThePromptAreAdapters) {
  LoadOptions o = fp32_options(2);
  o.lora_dirs = {kLoras};
  auto pipeline = TextToImagePipeline::load(kModel, o);
  TextToImageRequest tagged = request();
  tagged.prompt_style = "a1111";
  tagged.prompt = "a red balloon<lora:kohya:0.5:0.8>";
  const auto result = pipeline.generate(tagged);
  TextToImageRequest same = request({{kLoras + "kohya.safetensors", 0.8, 0.5}});
  same.prompt_style = "a1111";
  EXPECT_TRUE(same_bits(result.latents, pipeline.generate(same).latents));
  ASSERT_EQ(result.loras.size(), 1u);
  EXPECT_TRUE(result.loras[0].path.ends_with("kohya.safetensors"));
  tagged.prompt = "a red balloon<lora:nothing:1>";
  EXPECT_THROW(pipeline.validate(tagged), Error);
  tagged.prompt_style = "";  // there it is text
  EXPECT_NO_THROW(pipeline.validate(tagged));
}

// The same layers under the names of the original checkpoints.
TEST(Loras, OriginalNamesAreTheSame) {
  const io::TestFolder folder;
  const io::TensorFile file = io::TensorFile::open(kLoras + "locon.safetensors");
  const auto names = ldm_unet_names(read_model(kModel).unet, "");
  LoraTargets targets;
  const ModelFiles model = read_model(kModel);
  targets.add_unet(unet_weights(model.unet), model.unet);
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const io::TensorInfo& info : file.tensors()) {
    const size_t dot = info.name.find('.');
    const LoraTarget* target = targets.find(info.name.substr(0, dot));
    ASSERT_NE(target, nullptr) << info.name;
    std::string theirs = names(target->module + ".weight").front().name;
    theirs = theirs.substr(0, theirs.rfind('.'));
    for (char& c : theirs) c = c == '.' ? '_' : c;
    tensors.emplace_back("lora_unet_" + theirs + info.name.substr(dot), file.tensor(info.name).clone());
  }
  const std::string path = folder / "original.safetensors";
  io::write_safetensors(path, tensors);
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options(2));
  EXPECT_TRUE(same_bits(pipeline.generate(request({{path}})).latents,
                        pipeline.generate(request({{kLoras + "locon.safetensors"}})).latents));
}

TEST(Loras, AFileThatDoesNotFitLeavesThePipelineAsItWas) {
  auto pipeline = TextToImagePipeline::load(kModel, fp32_options(2));
  const Lora good{kLoras + "kohya.safetensors"};
  const Tensor with = pipeline.generate(request({good})).latents;
  const io::TestFolder folder;
  const std::string path = folder / "bad.safetensors";
  io::write_safetensors(path, {{"lora_unet_conv_in.lora_up.weight", Tensor::zeros(DType::f32, {25, 2})},
                               {"lora_unet_conv_in.lora_down.weight", Tensor::zeros(DType::f32, {2, 4, 3, 3})}});
  EXPECT_THROW(pipeline.generate(request({good, {path}})), Error);
  EXPECT_THROW(pipeline.validate(request({{path}})), Error);
  EXPECT_THROW(pipeline.generate(request({{good.path, std::nan("")}})), Error);
  EXPECT_TRUE(same_bits(pipeline.generate(request({good})).latents, with));
}

}  // namespace
}  // namespace easel::pipelines
