// What `easel inspect --prompt` says: how a prompt is read.
#include "base/fail.h"
#include "pipelines/text_to_image_impl.h"

namespace easel {

namespace {

using pipelines::PromptEncoder;
using pipelines::PromptPlan;
using Json = nlohmann::ordered_json;

// Tokens of the text, between BOS and EOS. Where EOS also pads, the first of the last ones ends the text.
size_t used_tokens(const std::vector<text::PromptToken>& chunk, const text::ClipTokenizer& tokenizer) {
  const auto is_eos = [&](size_t at) { return chunk[at].embedding < 0 && chunk[at].id == tokenizer.eos_id(); };
  size_t end = chunk.size() - 1;
  while (end > 1 && !is_eos(end)) --end;
  while (end > 1 && tokenizer.pad_id() == tokenizer.eos_id() && is_eos(end - 1)) --end;
  return end - 1;
}

Json describe_token(const text::PromptToken& token, const PromptEncoder& encoder) {
  Json out;
  if (token.embedding >= 0) {
    out["embedding"] = encoder.embeddings().all[static_cast<size_t>(token.embedding)].name;
    out["vector"] = token.vector;
  } else {
    out["id"] = token.id;
    out["text"] = encoder.tokenizer().decode({token.id});
  }
  out["weight"] = token.weight;
  return out;
}

// As encoder `index` reads it.
Json describe_text(const pipelines::PromptText& text, const PromptEncoder& encoder, size_t index = 0) {
  const text::ChunkedPrompt chunked = encoder.chunks(text, index);
  const std::string& words = index > 0 ? text.second : text.text;
  Json out = {{"text", words}};
  if (text.style != text::PromptStyle::plain)
    out["reads_as"] = text::print_weights(text::parse_weights(words, text.style), text.style);
  for (const auto& chunk : chunked.chunks) {
    Json tokens = Json::array();
    const size_t used = used_tokens(chunk, encoder.tokenizer());
    for (size_t i = 1; i <= used; ++i) tokens.push_back(describe_token(chunk[i], encoder));
    out["chunks"].push_back(std::move(tokens));
  }
  if (!chunked.unknown_embeddings.empty()) out["unknown_embeddings"] = chunked.unknown_embeddings;
  if (!chunked.cut_text.empty()) out["cut"] = chunked.cut_text;
  return out;
}

Json describe_plan(const std::string& prompt, const PromptPlan& plan, const PromptEncoder& encoder) {
  Json out = {{"text", prompt}};
  if (plan.absent) out["zeros"] = true;
  if (plan.expanded != prompt) out["expanded"] = plan.expanded;
  for (const text::PromptBranch& branch : plan.branches) {
    Json conditioning = {{"weight", branch.weight}};
    int from = 0;
    for (const text::ScheduledText& entry : branch.schedule) {
      Json item = {{"from_step", from}};
      const pipelines::PromptText said = plan.text_of(entry.text);
      item.update(describe_text(said, encoder));
      if (!said.second.empty()) item["second_encoder"] = describe_text(said, encoder, 1);
      conditioning["schedule"].push_back(std::move(item));
      from = entry.until + 1;
    }
    out["conditionings"].push_back(std::move(conditioning));
  }
  return out;
}

std::string quoted(const Json& text) { return fmt::format("\"{}\"", printable(text.get<std::string>(), 2000)); }

void print_text(const Json& entry, int64_t room, std::string& out) {
  out += quoted(entry["text"]) + "\n";
  if (entry.contains("reads_as") && entry["reads_as"] != entry["text"])
    out += "      reads as " + quoted(entry["reads_as"]) + "\n";
  for (const Json& name : entry.value("unknown_embeddings", Json::array()))
    out += "      left out: embedding:" + printable(name.get<std::string>()) + ", which is not there\n";
  if (entry.contains("cut")) out += "      cut: " + quoted(entry["cut"]) + "\n";
  size_t number = 0;
  for (const Json& chunk : entry["chunks"]) {
    out += fmt::format("      chunk {} of {}: {} of {} tokens\n", ++number, entry["chunks"].size(), chunk.size(), room);
    for (const Json& token : chunk) {
      const std::string what = token.contains("id") ? printable(token["text"].get<std::string>())
                                                    : fmt::format("vector {} of {}", token["vector"].get<int>(),
                                                                  printable(token["embedding"].get<std::string>()));
      out += fmt::format("        {:>6}  {:<8.5g}  {}\n",
                         token.contains("id") ? std::to_string(token["id"].get<int>()) : "-",
                         token["weight"].get<double>(), what);
    }
  }
}

void print_plan(const char* name, const Json& plan, int64_t room, std::string& out) {
  out += fmt::format("{} {}{}\n", name, quoted(plan["text"]), plan.contains("zeros") ? ", which is zeros" : "");
  if (plan.contains("expanded")) out += "  chosen: " + quoted(plan["expanded"]) + "\n";
  size_t number = 0;
  for (const Json& conditioning : plan["conditionings"]) {
    out += fmt::format("  conditioning {} of {}, weight {:g}\n", ++number, plan["conditionings"].size(),
                       conditioning["weight"].get<double>());
    for (const Json& entry : conditioning["schedule"]) {
      out += fmt::format("    from step {}: ", entry["from_step"].get<int>());
      print_text(entry, room, out);
      if (!entry.contains("second_encoder")) continue;
      out += "      second encoder: ";
      print_text(entry["second_encoder"], room, out);
    }
  }
}

}  // namespace

std::string TextToImagePipeline::describe_prompt(const TextToImageRequest& request, bool json) const {
  const Impl& p = *impl_;
  const Impl::Job job = p.resolve(request, false);
  const PromptEncoder& encoder = *p.text_encoder;
  Json out = {{"style", text::to_string(job.prompt.style)},
              {"clip_skip", job.prompt.clip_skip},
              {"seed", request.seed},
              {"steps", request.steps},
              {"chunk_tokens", encoder.tokens()},
              {"condition_tokens", job.tokens},
              {"prompt", describe_plan(request.prompt, job.prompt, encoder)}};
  if (job.guided) out["negative_prompt"] = describe_plan(request.negative_prompt.value_or(""), job.negative, encoder);
  if (json) return out.dump(-1, ' ', false, Json::error_handler_t::replace);

  const int64_t room = encoder.tokens() - 2;
  std::string text =
      fmt::format("style {}, clip skip {}, seed {}, {} steps; {} tokens beside the picture\n",
                  text::to_string(job.prompt.style), job.prompt.clip_skip, request.seed, request.steps, job.tokens);
  print_plan("prompt", out["prompt"], room, text);
  if (job.guided) print_plan("negative prompt", out["negative_prompt"], room, text);
  return text;
}

}  // namespace easel
