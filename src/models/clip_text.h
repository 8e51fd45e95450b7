// CLIP's text encoder: a causal transformer over tokens.
#pragma once

#include "graph/graph.h"
#include "nn/var.h"

namespace easel::models {

/// As in config.json of a CLIPTextModel.
struct ClipTextConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int num_hidden_layers = 12;
  int num_attention_heads = 12;
  int64_t max_position_embeddings = 77;
  double layer_norm_eps = 1e-5;
  nn::Activation hidden_act = nn::Activation::quick_gelu;
};

/// input_ids: [B, tokens] i32 (symbol "batch"), tokens ≤ max_position_embeddings → last_hidden_state:
/// [B, tokens, hidden_size] f32, after the final layer norm. Weight names as transformers saves them, without the old
/// "text_model." prefix. With given_vectors there are two inputs more, for textual inversions: the embedding of a token
/// is from_table · table[id] + vectors, from_table: [B, tokens, 1] f32 of 0 or 1, vectors: [B, tokens, hidden_size]
/// f32; with 1 and 0 the result has the same bits as without them. Radford et al. 2021, "Learning Transferable Visual
/// Models From Natural Language Supervision".
graph::Graph clip_text_model(const ClipTextConfig& config, int64_t tokens, bool given_vectors = false);

}  // namespace easel::models
