// The prompt language, case by case worked out by hand from the rules in prompt.h, and properties over random texts.
#include "text/prompt.h"

#include <gtest/gtest.h>

#include <easel/error.h>

#include <cmath>
#include <ostream>
#include <set>

#include "text/prompt_chunks.h"

namespace easel::text {

void PrintTo(const WeightedText& run, std::ostream* out) {
  *out << (run.is_break ? "BREAK" : "'" + run.text + "' " + std::to_string(run.weight));
}
void PrintTo(const ScheduledText& entry, std::ostream* out) { *out << entry.until << " '" << entry.text << "'"; }

namespace {

using Runs = std::vector<WeightedText>;
using Schedule = std::vector<ScheduledText>;
const WeightedText kBreak = {"", 1, true};
constexpr double kUp = 1.1, kDown = 1 / 1.1;

Runs comfy(std::string_view prompt) { return parse_weights(prompt, PromptStyle::comfy); }
Runs a1111(std::string_view prompt) { return parse_weights(prompt, PromptStyle::a1111); }

TEST(PromptStyles, Names) {
  EXPECT_EQ(parse_prompt_style("comfy"), PromptStyle::comfy);
  EXPECT_EQ(parse_prompt_style(""), PromptStyle::plain);
  try {
    parse_prompt_style("confy");
    ADD_FAILURE() << "expected an Error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "--prompt-style: expected plain, comfy or a1111, found 'confy'");
  }
}

TEST(PromptWeights, Plain) {
  EXPECT_EQ(parse_weights("(a:1.2) [b] BREAK", PromptStyle::plain), (Runs{{"(a:1.2) [b] BREAK"}}));
  EXPECT_EQ(parse_weights("", PromptStyle::plain), Runs{});
}

TEST(PromptWeights, Comfy) {
  EXPECT_EQ(comfy("a red house"), (Runs{{"a red house"}}));
  EXPECT_EQ(comfy("a (red) house"), (Runs{{"a "}, {"red", kUp}, {" house"}}));
  EXPECT_EQ(comfy("((a))"), (Runs{{"a", kUp * kUp}}));
  EXPECT_EQ(comfy("(a:1.3)"), (Runs{{"a", 1.3}}));
  EXPECT_EQ(comfy("((a:1.3))"), (Runs{{"a", 1.3}})) << "a number is absolute";
  EXPECT_EQ(comfy("((a:1.3) b)"), (Runs{{"a", 1.3}, {" b", kUp}}));
  EXPECT_EQ(comfy("(a (b) c:2)"), (Runs{{"a ", 2}, {"b", 2 * kUp}, {" c", 2}}));
  EXPECT_EQ(comfy("(a:b:1.5)"), (Runs{{"a:b", 1.5}}));
  EXPECT_EQ(comfy("(a: -0.5 )"), (Runs{{"a", -0.5}}));
  EXPECT_EQ(comfy("(a:1e-1)(b:+2)(c:.5)(d:3.)"), (Runs{{"a", 0.1}, {"b", 2}, {"c", 0.5}, {"d", 3}}));
  EXPECT_EQ(comfy("(a:0)"), (Runs{{"a", 0}}));
  EXPECT_EQ(comfy("[a] {b}"), (Runs{{"[a] {b}"}}));
}

TEST(PromptWeights, ComfyOddOnes) {
  EXPECT_EQ(comfy("(a:x)"), (Runs{{"a:x", kUp}}));
  EXPECT_EQ(comfy("(a:1.2.3)(b:+-1)(c:)"), (Runs{{"a:1.2.3", kUp}, {"b:+-1", kUp}, {"c:", kUp}}));
  EXPECT_EQ(comfy("(a:inf)(a:nan)"), (Runs{{"a:inf", kUp}, {"a:nan", kUp}}));
  EXPECT_EQ(comfy("(:1.2)"), (Runs{{":1.2", kUp}})) << "nothing before the colon";
  EXPECT_EQ(comfy("()"), Runs{});
  EXPECT_EQ(comfy(""), Runs{});
  EXPECT_EQ(comfy("a (b"), (Runs{{"a "}, {"(b"}}));
  EXPECT_EQ(comfy("((a)"), (Runs{{"(a", kUp}})) << "the last bracket closes the first";
  EXPECT_EQ(comfy("(a (b) c"), (Runs{{"(a (b) c"}}));
  EXPECT_EQ(comfy("a) (b:1.2) (c)"), (Runs{{"a) (b:1.2) (c)"}})) << "a stray ) takes the next ( and so on";
  EXPECT_EQ(comfy("a) ( (b)"), (Runs{{"a) ( "}, {"b", kUp}}));
  EXPECT_EQ(comfy(")"), (Runs{{")"}}));
  EXPECT_EQ(comfy("("), (Runs{{"("}}));
}

TEST(PromptWeights, ComfyEscapes) {
  EXPECT_EQ(comfy(R"(a \(b\))"), (Runs{{"a (b)"}}));
  EXPECT_EQ(comfy(R"((a \(b\):1.2))"), (Runs{{"a (b)", 1.2}}));
  EXPECT_EQ(comfy(R"((a\))"), (Runs{{"(a)"}})) << "an escaped bracket closes nothing";
  EXPECT_EQ(comfy(R"(a\\(b) \c)"), (Runs{{R"(a\(b) \c)"}}));
}

TEST(PromptWeights, A1111) {
  EXPECT_EQ(a1111("a red house"), (Runs{{"a red house"}}));
  EXPECT_EQ(a1111("a (red) house"), (Runs{{"a "}, {"red", kUp}, {" house"}}));
  EXPECT_EQ(a1111("[a]"), (Runs{{"a", kDown}}));
  EXPECT_EQ(a1111("([a])"), (Runs{{"a", kDown * kUp}}));
  EXPECT_EQ(a1111("((a:1.2):1.5)"), (Runs{{"a", 1.2 * 1.5}})) << "numbers multiply";
  EXPECT_EQ(a1111("(a (b) c:2)"), (Runs{{"a ", 2}, {"b", kUp * 2}, {" c", 2}}));
  EXPECT_EQ(a1111("(a: 1.2 )"), (Runs{{"a", 1.2}}));
  EXPECT_EQ(a1111("(a:-1)"), (Runs{{"a", -1}}));
  EXPECT_EQ(a1111("(a)(b)"), (Runs{{"ab", kUp}})) << "neighbours of one weight are one run";
  EXPECT_EQ(a1111("a:b"), (Runs{{"a:b"}}));
  EXPECT_EQ(a1111("(a:b:1.5)"), (Runs{{"a:b", 1.5}}));
}

TEST(PromptWeights, A1111OddOnes) {
  EXPECT_EQ(a1111("(a [b"), (Runs{{"a ", kUp}, {"b", kUp * kDown}})) << "open brackets hold to the end";
  EXPECT_EQ(a1111("a) b]"), (Runs{{"a) b]"}}));
  EXPECT_EQ(a1111("a:1.2)"), (Runs{{"a:1.2)"}})) << "no bracket is open";
  EXPECT_EQ(a1111("[a:1.2)]"), (Runs{{"a:1.2)", kDown}}));
  EXPECT_EQ(a1111("(a:1.2.3)"), (Runs{{"a:1.2.3", kUp}}));
  EXPECT_EQ(a1111("(a:1e5)"), (Runs{{"a:1e5", kUp}}));
  EXPECT_EQ(a1111("(a [b) c]"), (Runs{{"a ", kUp}, {"b", kUp * kDown}, {" c", kDown}})) << "brackets may cross";
  EXPECT_EQ(a1111("()"), Runs{});
  EXPECT_EQ(a1111(R"(\(a\) \[b\] \\c \d)"), (Runs{{R"((a) [b] \c d)"}}));
}

TEST(PromptWeights, Break) {
  EXPECT_EQ(a1111("a BREAK b"), (Runs{{"a"}, kBreak, {"b"}}));
  EXPECT_EQ(a1111("a\n BREAK\n\n(b:1.2)"), (Runs{{"a"}, kBreak, {"b", 1.2}}));
  EXPECT_EQ(a1111("(a BREAK b:1.2)"), (Runs{{"a", 1.2}, kBreak, {"b", 1.2}}));
  EXPECT_EQ(a1111("BREAK BREAK"), (Runs{kBreak, kBreak}));
  EXPECT_EQ(a1111("BREAKFAST break OUTBREAK"), (Runs{{"BREAKFAST break OUTBREAK"}}));
  EXPECT_EQ(a1111(R"(a B\REAK b)"), (Runs{{"a BREAK b"}}));
  EXPECT_EQ(comfy("a BREAK b"), (Runs{{"a BREAK b"}}));
}

Schedule schedule(std::string_view prompt, int steps = 10) {
  const auto branches = parse_schedule(prompt, PromptStyle::a1111, steps);
  EXPECT_EQ(branches.size(), 1u) << prompt;
  EXPECT_EQ(branches[0].weight, 1) << prompt;
  return branches[0].schedule;
}

TEST(PromptSchedule, Editing) {
  EXPECT_EQ(schedule("a b"), (Schedule{{10, "a b"}}));
  EXPECT_EQ(schedule("a [b:3]"), (Schedule{{3, "a "}, {10, "a b"}}));
  EXPECT_EQ(schedule("a [b: 3 ]"), (Schedule{{3, "a "}, {10, "a b"}}));
  EXPECT_EQ(schedule("a [b::3] c"), (Schedule{{3, "a b c"}, {10, "a  c"}}));
  EXPECT_EQ(schedule("[a:b:0.25]", 20), (Schedule{{5, "a"}, {20, "b"}}));
  EXPECT_EQ(schedule("[a:b:.5]"), (Schedule{{5, "a"}, {10, "b"}}));
  EXPECT_EQ(schedule("[a:b:1]"), (Schedule{{1, "a"}, {10, "b"}})) << "no dot: a step";
  EXPECT_EQ(schedule("[a:b:1.0]"), (Schedule{{10, "a"}})) << "a dot: a fraction";
  EXPECT_EQ(schedule("[a:b:0]"), (Schedule{{10, "b"}}));
  EXPECT_EQ(schedule("[a:b:-3]"), (Schedule{{10, "b"}}));
  EXPECT_EQ(schedule("[a:b:99]"), (Schedule{{10, "a"}}));
  EXPECT_EQ(schedule("[a:b:1e400]"), (Schedule{{10, "[a:b:1e400]"}}));
  EXPECT_EQ(schedule("a[b:[c:d:2]:1]e"), (Schedule{{1, "abe"}, {2, "ace"}, {10, "ade"}}));
  EXPECT_EQ(schedule("[(a:2):3]"), (Schedule{{3, ""}, {10, "(a:2)"}}));
  EXPECT_EQ(schedule("a [[[b]]:2]"), (Schedule{{2, "a "}, {10, "a [[b]]"}}));
  EXPECT_EQ(schedule("([a:b:3]:1.2)"), (Schedule{{3, "(a:1.2)"}, {10, "(b:1.2)"}}));
}

TEST(PromptSchedule, Alternation) {
  EXPECT_EQ(schedule("[a|b]c", 4), (Schedule{{1, "ac"}, {2, "bc"}, {3, "ac"}, {4, "bc"}}));
  EXPECT_EQ(schedule("[fe|||]male", 5), (Schedule{{1, "female"}, {4, "male"}, {5, "female"}}));
  EXPECT_EQ(schedule("[a|(b:1.1)]", 2), (Schedule{{1, "a"}, {2, "(b:1.1)"}}));
  EXPECT_EQ(schedule("[[a|b]:c:2]", 4), (Schedule{{1, "a"}, {2, "b"}, {4, "c"}}));
}

TEST(PromptSchedule, WhatIsNoMarkIsText) {
  for (const char* text : {"a [unbalanced", "[a:b]", "[a:b:c:3]", "[a|b:3]", "(a:b:c)", "a:3]", "((a][:b:c", "[a] (b)",
                           R"(\[a:b:3\])", "a | b [c:3]", "[a:3] b\\", "(a|b)", "[a:3x]"})
    EXPECT_EQ(schedule(text), (Schedule{{10, text}})) << text;
  EXPECT_EQ(schedule("((a][:b:c [d:3]"), (Schedule{{3, "((a][:b:c "}, {10, "((a][:b:c d"}}));
  EXPECT_EQ(schedule(R"([a\|b:\::3])"), (Schedule{{3, R"(a\|b)"}, {10, R"(\:)"}}));
}

TEST(PromptSchedule, StepsAreComparedFromZero) {
  const auto branch = parse_schedule("[a:b:3]", PromptStyle::a1111, 10)[0];
  EXPECT_EQ(branch.at(0), "a");
  EXPECT_EQ(branch.at(3), "a");
  EXPECT_EQ(branch.at(4), "b");
  EXPECT_EQ(branch.at(12), "b");
}

TEST(PromptSchedule, And) {
  const auto branches = parse_schedule("a cat :1.2 AND [b:c:3] AND  a dog:-.5", PromptStyle::a1111, 10);
  ASSERT_EQ(branches.size(), 3u);
  EXPECT_EQ(branches[0].weight, 1.2);
  EXPECT_EQ(branches[0].schedule, (Schedule{{10, "a cat"}}));
  EXPECT_EQ(branches[1].weight, 1);
  EXPECT_EQ(branches[1].schedule, (Schedule{{3, " b"}, {10, " c"}}));
  EXPECT_EQ(branches[2].weight, -0.5);
  EXPECT_EQ(branches[2].schedule, (Schedule{{10, "  a dog"}}));
  EXPECT_EQ(parse_schedule("SAND and ANDROID", PromptStyle::a1111, 10).size(), 1u);
  EXPECT_EQ(parse_schedule("ratio 16:9", PromptStyle::a1111, 10)[0].weight, 9) << "as the web UI does";
  EXPECT_EQ(parse_schedule("a:1.2.3", PromptStyle::a1111, 10)[0].weight, 1);
  EXPECT_EQ(parse_schedule("(a:1.2)", PromptStyle::a1111, 10)[0].weight, 1);
  EXPECT_EQ(parse_schedule("a AND", PromptStyle::a1111, 10)[1].schedule, (Schedule{{10, ""}}));
  const auto negative = parse_schedule("a AND b:2", PromptStyle::a1111, 10, false);
  ASSERT_EQ(negative.size(), 1u);
  EXPECT_EQ(negative[0].schedule, (Schedule{{10, "a AND b:2"}}));
  EXPECT_EQ(parse_schedule("a AND [b:c:3]", PromptStyle::comfy, 10)[0].schedule, (Schedule{{10, "a AND [b:c:3]"}}));
}

TEST(PromptWildcards, SeedsChoose) {
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::string text = expand_wildcards("a {red|green|{dark|light} blue} ball", PromptStyle::comfy, seed);
    EXPECT_EQ(text, expand_wildcards("a {red|green|{dark|light} blue} ball", PromptStyle::comfy, seed));
    seen.insert(text);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"a red ball", "a green ball", "a dark blue ball", "a light blue ball"}));
  // The first outputs of splitmix64 from 0, e220a839…, 6e789e6a…, 06c45d18…, scaled to four options.
  EXPECT_EQ(expand_wildcards("{a|b|c|d}{a|b|c|d}{a|b|c|d}", PromptStyle::comfy, 0), "dba");
  EXPECT_NE(expand_wildcards("{0|1|2|3|4|5|6|7}{0|1|2|3|4|5|6|7}", PromptStyle::comfy, 0, 1),
            expand_wildcards("{0|1|2|3|4|5|6|7}{0|1|2|3|4|5|6|7}", PromptStyle::comfy, 0, 0));
}

TEST(PromptWildcards, Marks) {
  const auto comfy = [](std::string_view text) { return expand_wildcards(text, PromptStyle::comfy, 1); };
  EXPECT_EQ(comfy("a // note\nb /* c\nd */ e"), "a \nb  e");
  EXPECT_EQ(comfy("a /* b"), "a /* b");
  EXPECT_EQ(comfy(R"(\{a\|b\} \(c\))"), R"({a|b} \(c\))");
  EXPECT_EQ(comfy("{a} b}"), "a b}");
  EXPECT_EQ(comfy("x {a"), "x a") << "open braces reach to the end";
  const auto a1111 = [](std::string_view text) { return expand_wildcards(text, PromptStyle::a1111, 1); };
  for (const char* text : {"{a} [b|c] {d", "a // b", "{[a|b]}", R"(\{a|b\})"}) EXPECT_EQ(a1111(text), text);
  EXPECT_EQ(a1111("{a|a} {b {c|c}"), "a {b c");
  EXPECT_EQ(expand_wildcards("{a|b}", PromptStyle::plain, 1), "{a|b}");
}

// ---- chunks --------------------------------------------------------------------------------------------------------

const ClipTokenizer& tokenizer() {
  static const ClipTokenizer value = ClipTokenizer::load(EASEL_SOURCE_DIR "/tests/goldens/text");
  return value;
}

std::string words(int count, const std::string& word = "a") {  // of one token each
  std::string out;
  for (int i = 0; i < count; ++i) out += (i ? " " : "") + word;
  return out;
}

// The tokens of a chunk without BOS, EOS and padding.
std::string content(const std::vector<PromptToken>& chunk) {
  EXPECT_EQ(chunk.size(), 77u);
  EXPECT_EQ(chunk[0].id, tokenizer().bos_id());
  std::string out;
  size_t at = 1;
  for (; at < chunk.size() && (chunk[at].embedding >= 0 || chunk[at].id != tokenizer().eos_id()); ++at) {
    const PromptToken& token = chunk[at];
    if (token.embedding >= 0)
      out.append("<")
          .append(std::to_string(token.embedding))
          .append(".")
          .append(std::to_string(token.vector))
          .append(">");
    else
      out += tokenizer().decode({token.id});
    out += ' ';
  }
  EXPECT_LT(at, chunk.size()) << "no EOS";
  for (; at < chunk.size(); ++at) EXPECT_EQ(chunk[at].weight, 1) << at;
  return out;
}

ChunkedPrompt chunks(std::string_view prompt, PromptStyle style, const std::vector<EmbeddingName>& names = {}) {
  return chunk_prompt(parse_weights(prompt, style), style, tokenizer(), 77, names);
}

TEST(PromptChunks, WithoutMarksAndUpTo75TokensAsPlain) {
  for (const PromptStyle style : {PromptStyle::comfy, PromptStyle::a1111})
    for (const std::string& text : {std::string(), std::string("a red balloon, it's 42 !"), words(75)}) {
      const auto out = chunks(text, style);
      ASSERT_EQ(out.chunks.size(), 1u);
      const auto plain = tokenizer().encode_padded(text, 77);
      for (size_t i = 0; i < 77; ++i) {
        EXPECT_EQ(out.chunks[0][i].id, plain.ids[i]) << text << " " << i;
        EXPECT_EQ(out.chunks[0][i].weight, 1);
        EXPECT_EQ(out.chunks[0][i].embedding, -1);
      }
    }
}

TEST(PromptChunks, ComfyKeepsShortRunsWhole) {
  auto out = chunks(words(72) + " (b b b b:1.5)", PromptStyle::comfy);
  ASSERT_EQ(out.chunks.size(), 2u);
  EXPECT_EQ(content(out.chunks[0]), words(72) + " ");
  EXPECT_EQ(content(out.chunks[1]), "b b b b ");
  EXPECT_EQ(out.chunks[1][4].weight, 1.5);
  out = chunks(words(72) + " (" + words(8, "b") + ":1.5)", PromptStyle::comfy);
  ASSERT_EQ(out.chunks.size(), 2u);
  EXPECT_EQ(content(out.chunks[0]), words(72) + " b b b ") << "eight tokens are cut";
  EXPECT_EQ(content(out.chunks[1]), "b b b b b ");
  out = chunks(words(160), PromptStyle::comfy);
  ASSERT_EQ(out.chunks.size(), 3u);
  EXPECT_EQ(content(out.chunks[2]), words(10) + " ");
  out = chunks(words(75), PromptStyle::comfy);
  EXPECT_EQ(out.chunks.size(), 1u);
}

TEST(PromptChunks, ComfyEmbeddings) {
  const std::vector<EmbeddingName> names = {{"bad", 2}, {"style/oil", 1}};
  auto out = chunks("embedding:bad, (b embedding:style/oil.safetensors c:1.5)", PromptStyle::comfy, names);
  ASSERT_EQ(out.chunks.size(), 1u);
  EXPECT_EQ(content(out.chunks[0]), "<0.0> <0.1> , b <1.0> c ");
  EXPECT_EQ(out.chunks[0][2].weight, 1);
  EXPECT_EQ(out.chunks[0][5].weight, 1.5);
  EXPECT_TRUE(out.unknown_embeddings.empty());
  out = chunks("a embedding:bda, b xembedding:bad embedding:", PromptStyle::comfy, names);
  EXPECT_EQ(out.unknown_embeddings, (std::vector<std::string>{"bda", ""}));
  EXPECT_EQ(content(out.chunks[0]).substr(0, 6), "a , b ") << content(out.chunks[0]);
  EXPECT_EQ(content(out.chunks[0]).find('<'), std::string::npos) << "a name begins behind a space";
}

TEST(PromptChunks, A1111MovesWhatFollowsTheLastComma) {
  auto out = chunks(words(60) + ", " + words(20, "b"), PromptStyle::a1111);
  ASSERT_EQ(out.chunks.size(), 2u);
  EXPECT_EQ(content(out.chunks[0]), words(60) + " , ");
  EXPECT_EQ(content(out.chunks[1]), words(20, "b") + " ");
  out = chunks(words(54) + ", " + words(30, "b"), PromptStyle::a1111);  // the comma is the 21st from the end
  ASSERT_EQ(out.chunks.size(), 2u);
  EXPECT_EQ(content(out.chunks[0]), words(54) + " , " + words(20, "b") + " ");
  out = chunks(words(75) + ", b", PromptStyle::a1111);
  EXPECT_EQ(content(out.chunks[1]), ", b ") << "a comma is not moved for a comma";
  EXPECT_EQ(chunks(words(60) + ", " + words(14, "b"), PromptStyle::a1111).chunks.size(), 1u);
}

TEST(PromptChunks, A1111Breaks) {
  auto out = chunks("a BREAK (b:1.5) BREAK BREAK c BREAK", PromptStyle::a1111);
  ASSERT_EQ(out.chunks.size(), 4u);
  EXPECT_EQ(content(out.chunks[0]), "a ");
  EXPECT_EQ(content(out.chunks[1]), "b ");
  EXPECT_EQ(out.chunks[1][1].weight, 1.5);
  EXPECT_EQ(content(out.chunks[2]), "");
  EXPECT_EQ(content(out.chunks[3]), "c ");
}

TEST(PromptChunks, A1111Embeddings) {
  const std::vector<EmbeddingName> names = {{"bad", 2}, {"bad art", 3}, {"long", 76}, {"files/x1", 1}};
  auto out = chunks("a (Bad ART:1.5), bad x1", PromptStyle::a1111, names);
  EXPECT_EQ(content(out.chunks[0]), "a <1.0> <1.1> <1.2> , <0.0> <0.1> <3.0> ");
  EXPECT_EQ(out.chunks[0][4].weight, 1.5);
  out = chunks(words(74) + " bad", PromptStyle::a1111, names);
  ASSERT_EQ(out.chunks.size(), 2u);
  EXPECT_EQ(content(out.chunks[1]), "<0.0> <0.1> ") << "an embedding is not cut";
  EXPECT_THROW(chunks("a long way", PromptStyle::a1111, names), Error);
}

// ---- any text ------------------------------------------------------------------------------------------------------

TEST(PromptProperties, ParsePrintParseIsStableAndNothingCrashes) {
  uint64_t state = 7;
  const auto random = [&](size_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<size_t>((state >> 33) % below);
  };
  const std::vector<std::string> pieces = {"(", ")",     "[",   "]",   ":",  "1.3",       "\\",     "|",  "a",
                                           " ", "BREAK", "AND", "{",   "}",  "0.5",       "-",      ".",  "3",
                                           "é", ",",     "b",   "\n",  "//", "/*",        "\u3000", "*/", "cat",
                                           "x", ":2)",   "::",  "1e2", "",   "embedding:"};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (size_t n = random(24); n > 0; --n) text += pieces[random(pieces.size())];
    for (const PromptStyle style : {PromptStyle::comfy, PromptStyle::a1111}) {
      const std::string expanded = expand_wildcards(text, style, static_cast<uint64_t>(i));
      for (const PromptBranch& branch : parse_schedule(expanded, style, 5)) {
        EXPECT_TRUE(std::isfinite(branch.weight));
        ASSERT_FALSE(branch.schedule.empty());
        EXPECT_EQ(branch.schedule.back().until, 5);
        for (const ScheduledText& entry : branch.schedule) {
          const Runs runs = parse_weights(entry.text, style);
          const std::string printed = print_weights(runs, style);
          ASSERT_EQ(parse_weights(printed, style), runs) << "'" << entry.text << "' printed as '" << printed << "'";
          for (const WeightedText& run : runs) EXPECT_TRUE(std::isfinite(run.weight)) << text;
        }
      }
    }
  }
}

TEST(PromptProperties, DeepAndBrokenTexts) {
  for (const PromptStyle style : {PromptStyle::comfy, PromptStyle::a1111}) {
    const auto all = [&](const std::string& text) {
      const std::string expanded = expand_wildcards(text, style, 1);
      for (const PromptBranch& branch : parse_schedule(expanded, style, 3))
        for (const ScheduledText& entry : branch.schedule) parse_weights(entry.text, style);
    };
    const int deep = 200000;
    for (const char* open : {"(", "[", "{", "((a:2)", "[a:", "[a|", ":", "/*", "\\", "(a:1.", "{a|"}) {
      std::string text;
      for (int i = 0; i < deep / 10; ++i) text += open;
      try {
        all(text);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
        EXPECT_NE(std::string(error.what()).find("nested"), std::string::npos) << error.what();
      }
    }
    for (const auto& [open, close] : {std::pair("(", ")"), {"[", "]"}, {"{", "}"}, {"[a:", ":2]"}, {"[a|", "]"}}) {
      std::string text;
      for (int i = 0; i < deep; ++i) text += open;
      for (int i = 0; i < deep; ++i) text += close;
      try {
        all(text);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      }
    }
    EXPECT_THROW(all("a \xff"), Error);
  }
}

}  // namespace
}  // namespace easel::text
