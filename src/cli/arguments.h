// The options of one command: CLI11 does the parsing, the messages are easel's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace easel::cli {

/// Every failure is Error(invalid_argument), one line that names the option, what was expected and what came.
class Arguments {
 public:
  /// command: "generate"; help: the whole text of --help.
  Arguments(std::string command, std::string help);
  ~Arguments();

  // A target is written by parse() and left alone where its option is absent. Names with dashes: "--steps".
  void positional(const std::string& name, std::optional<std::string>& target);
  /// All words that no other option takes.
  void positionals(const std::string& name, std::vector<std::string>& target);
  void text(const std::string& name, std::optional<std::string>& target);
  /// An option whose value may be left out, which makes the target "".
  void optional_text(const std::string& name, std::optional<std::string>& target);
  /// May be given several times.
  void texts(const std::string& name, std::vector<std::string>& target);
  /// Numbers of at least `min`; may be given several times.
  void numbers(const std::string& name, std::vector<double>& target, double min);
  void whole(const std::string& name, std::optional<int64_t>& target, int64_t min, int64_t max);
  void seed(const std::string& name, std::optional<uint64_t>& target);
  /// A finite number of at least `min`.
  void number(const std::string& name, std::optional<double>& target, double min);
  /// A size of memory: see parse_bytes().
  void bytes(const std::string& name, std::optional<int64_t>& target);
  void flag(const std::string& name, bool& target);
  /// A flag whose absence can be told from its presence: the target becomes true.
  void optional_flag(const std::string& name, std::optional<bool>& target);
  /// An option of the design that nothing runs yet: refused by name, never ignored.
  void not_yet(const std::string& name);

  /// A further page, printed by "--help NAME".
  void topic(const std::string& name, const char* text);
  /// False if --help was asked for, and printed to standard output.
  bool parse(std::span<const std::string> args);

  /// Every long option that --help should list.
  std::vector<std::string> names() const;
  const std::string& help() const { return help_; }
  /// The help with all its further pages.
  std::string all_help() const;

 private:
  struct Impl;
  std::string command_, help_;
  std::unique_ptr<Impl> impl_;
};

/// "a,b" → {"a", "b"}; of nothing, one empty text.
std::vector<std::string> split_commas(const std::string& text);

/// A whole number in min … max. Throws invalid_argument, beginning with `where`.
int64_t parse_whole(const std::string& where, const std::string& text, int64_t min, int64_t max);
uint64_t parse_seed(const std::string& where, const std::string& text);
double parse_number(const std::string& where, const std::string& text, double min);
/// "2600000000", "2.6GB" (10⁹), "2.5GiB" (2³⁰); also B, K, M, G, T with and without B or iB, in any case, K to T alone
/// being decimal. At least 1. Throws invalid_argument, beginning with `where`.
int64_t parse_bytes(const std::string& where, const std::string& text);

}  // namespace easel::cli
