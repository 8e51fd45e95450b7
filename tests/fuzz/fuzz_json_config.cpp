#include "check.h"
#include "io/json_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace easel;
  fuzz::holds([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const io::JsonObject config(io::parse_json(text, "fuzz"), "fuzz");
    for (const auto& item : config.json().items()) {
      const std::string& key = item.key();
      fuzz::holds([&] { fuzz::require(config.integer(key, 0, 1 << 20) <= 1 << 20, "the range holds"); });
      fuzz::holds([&] { config.integer_or(key, 1, -5); });
      fuzz::holds([&] { config.integers(key, -1, 1); });
      fuzz::holds([&] { config.integer_or_integers(key, 1); });
      fuzz::holds([&] { fuzz::require(config.number(key) == config.number_or(key, 0), "numbers are no NaN"); });
      fuzz::holds([&] { config.numbers(key); });
      fuzz::holds([&] { config.string(key); });
      fuzz::holds([&] { config.string_or(key, ""); });
      fuzz::holds([&] { config.strings(key); });
      fuzz::holds([&] { config.boolean_or(key, true); });
      fuzz::holds([&] { config.object(key).integer("x", 0); });
    }
  });
  return 0;
}
