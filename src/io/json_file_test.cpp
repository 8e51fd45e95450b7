#include "io/json_file.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/test_folder.h"

namespace easel::io {
namespace {

JsonObject object(const std::string& text) { return {parse_json(text, "config.json"), "config.json"}; }

TEST(Json, GettersReadWhatIsThere) {
  const JsonObject config = object(R"({"hidden_size": 32, "act": "quick_gelu", "eps": 1e-5, "heads": [4, 8.0],
      "blocks": ["A", "B"], "flag": true, "nothing": null, "single": 8, "betas": [0.5, 1], "nested": {"x": 1}})");
  EXPECT_EQ(config.integer("hidden_size", 1, 1 << 20), 32);
  EXPECT_EQ(config.integer_or("absent", 7, 0), 7);
  EXPECT_EQ(config.integer_or("nothing", 7, 0), 7);
  EXPECT_FALSE(config.has("nothing"));
  EXPECT_EQ(config.integers("heads", 1), (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(config.integer_or_integers("heads", 1), (std::vector<int64_t>{4, 8}));
  EXPECT_EQ(config.integer_or_integers("single", 1), (std::vector<int64_t>{8}));
  EXPECT_EQ(config.integers_or("absent", {1, 2}, 0), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(config.string("act"), "quick_gelu");
  EXPECT_EQ(config.string_or("absent", "gelu"), "gelu");
  EXPECT_EQ(config.strings("blocks"), (std::vector<std::string>{"A", "B"}));
  EXPECT_DOUBLE_EQ(config.number("eps"), 1e-5);
  EXPECT_DOUBLE_EQ(config.number_or("absent", 2.0), 2.0);
  EXPECT_EQ(config.numbers("betas"), (std::vector<double>{0.5, 1}));
  EXPECT_TRUE(config.boolean("flag"));
  EXPECT_TRUE(config.boolean_or("absent", true));
  EXPECT_EQ(config.object("nested").integer("x", 0), 1);
}

TEST(Json, GettersNameFileKeyExpectedAndFound) {
  const JsonObject config = object(R"({"n": -3, "s": "x", "l": [1, -2], "big": 18446744073709551615, "f": 1.5,
      "o": {"x": "y"}, "mixed": ["a", 1], "many": [0,0,0,0,0,0,0,0,-1]})");
  EXPECT_EQ(error_of([&] { config.integer("n", 1, 8); }),
            "config.json: key 'n': expected a whole number from 1 to 8, found -3");
  EXPECT_EQ(error_of([&] { config.integer("absent", 1); }),
            "config.json: key 'absent': expected a whole number of at least 1, found nothing");
  EXPECT_EQ(error_of([&] { config.integers("l", 0); }),
            "config.json: key 'l': expected a list of a whole number of at least 0, found [1,-2]");
  EXPECT_HAS(error_of([&] { config.integers("many", 0); }), "found a list of 9");
  EXPECT_HAS(error_of([&] { config.integer("big", 0); }), "found 18446744073709551615");
  EXPECT_HAS(error_of([&] { config.integer("f", 0); }), "found 1.5");
  EXPECT_HAS(error_of([&] { config.integer_or("s", 1, 0); }), "found \"x\"");
  EXPECT_HAS(error_of([&] { config.integers("s", 0); }), "a list of whole numbers, found \"x\"");
  EXPECT_HAS(error_of([&] { config.string("n"); }), "expected a string, found -3");
  EXPECT_HAS(error_of([&] { config.strings("mixed"); }), "expected a list of strings");
  EXPECT_HAS(error_of([&] { config.boolean_or("n", true); }), "expected true or false, found -3");
  EXPECT_HAS(error_of([&] { config.number("o"); }), "expected a number, found an object");
  EXPECT_HAS(error_of([&] { config.object("o").integer("x", 0); }), "config.json: o: key 'x'");
  EXPECT_HAS(error_of([&] { object("[1]"); }), "expected a JSON object, found [1]");
}

TEST(Json, PythonsExtraNumbersAreRead) {
  const JsonObject config = object(R"({"a": -Infinity, "b": Infinity, "c": NaN, "d": "NaN \" Infinity", "e": [NaN]})");
  EXPECT_EQ(config.number("a"), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(config.number("b"), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(config.json().at("c").get<double>()));
  EXPECT_EQ(config.string("d"), "NaN \" Infinity");
  EXPECT_HAS(error_of([&] { config.number("c"); }), "expected a number");
  EXPECT_HAS(error_of([&] { config.integer("b", 0); }), "key 'b'");
}

TEST(Json, BadFilesGiveOneLine) {
  const auto bad = [](const std::string& text) { return error_of([&] { parse_json(text, "c.json"); }); };
  EXPECT_HAS(bad(""), "c.json: expected JSON, found an error at byte 1");
  EXPECT_HAS(bad("{\"a\": 1,\n}"), "at byte 10");
  EXPECT_HAS(bad("{\"a\": 1"), "c.json");
  EXPECT_HAS(bad("{\"a\": \"\xff\"}"), "c.json");
  EXPECT_HAS(bad("{\"a\": 1e999}"), "c.json");
  EXPECT_HAS(bad("{\"a\": 1, \"b\": {\"a\": 1}, \"a\": 2}"), "key 'a' occurs twice");
  EXPECT_HAS(bad("{} {}"), "c.json");
  EXPECT_HAS(bad(std::string(1'000'000, '[')), "at most 64 levels");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_HAS(bad(deep), "at most 64 levels");
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "c.json"));

  TestFolder folder;
  EXPECT_HAS(error_of([&] { read_json_file(folder / "missing.json"); }), "missing.json: cannot be opened");
  EXPECT_HAS(error_of([&] { read_json_file(folder.path()); }), "found a folder");
  EXPECT_HAS(error_of([&] { read_json_file(folder.write("big.json", std::string(11, ' ')), 10); }),
             "at most 10 bytes, found 11");
}

}  // namespace
}  // namespace easel::io
