// CLIP's text encoder: a causal transformer over tokens.
#pragma once

#include <optional>

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
  int64_t projection_dim = 0;  ///< of a CLIPTextModelWithProjection; 0: there is no projection
  /// Where the pooled state is read: at the first such token, or, where this is 2 as in early files, at the first of
  /// the largest ids (which is the end token).
  int64_t eos_token_id = 2;
};

/// What is asked of the encoder.
struct ClipTextOptions {
  bool given_vectors = false;  ///< vectors of textual inversions may stand for tokens
  /// The state after so many layers, 0 to num_hidden_layers, without the final norm, instead of last_hidden_state.
  std::optional<int> hidden_layers = std::nullopt;
  bool pooled = false;  ///< the projected state of one token, too; needs projection_dim
};

/// input_ids: [B, tokens] i32 (symbol "batch"), tokens ≤ max_position_embeddings → last_hidden_state:
/// [B, tokens, hidden_size] f32, after the final layer norm; or, with hidden_layers, hidden_state of that size. Weight
/// names as transformers saves them, without the old "text_model." prefix.
///   given_vectors: two inputs more, for textual inversions: the embedding of a token is from_table · table[id] +
///     vectors, from_table: [B, tokens, 1] f32 of 0 or 1, vectors: [B, tokens, hidden_size] f32; with 1 and 0 the
///     result has the same bits as without them.
///   pooled: an input pooled_token: [B, 1, tokens] f32, 1 at the token that is read and else 0, and an output
///     pooled: [B, projection_dim] = text_projection · (its state after all layers and the final norm).
/// Throws invalid_argument for options that the configuration does not allow.
/// Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision".
graph::Graph clip_text_model(const ClipTextConfig& config, int64_t tokens, const ClipTextOptions& options = {});

}  // namespace easel::models
