#include "cli/arguments.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/fail.h"
#include "cli/spelling.h"

namespace easel::cli {

int64_t parse_whole(const std::string& where, const std::string& text, int64_t min, int64_t max) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max)
    fail(ErrorCode::invalid_argument, "{}: expected a whole number from {} to {}, found \"{}\"", where, min, max,
         printable(text, 40));
  return value;
}

uint64_t parse_seed(const std::string& where, const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ErrorCode::invalid_argument, "{}: expected a whole number from 0 to 18446744073709551615, found \"{}\"", where,
         printable(text, 40));
  return value;
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    out.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  return out;
}

double parse_number(const std::string& where, const std::string& text, double min) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool number = error == std::errc() && end == text.data() + text.size();
  if (!number || !std::isfinite(value) || value < min) {
    if (min == -HUGE_VAL)
      fail(ErrorCode::invalid_argument, "{}: expected a number, found \"{}\"", where, printable(text, 40));
    fail(ErrorCode::invalid_argument, "{}: expected a number of at least {}, found \"{}\"", where, min,
         printable(text, 40));
  }
  return value;
}

int64_t parse_bytes(const std::string& where, const std::string& text) {
  double value = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value, std::chars_format::fixed);
  std::string unit(end < last && *end == ' ' ? end + 1 : end, last);
  for (char& c : unit) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  const bool binary = unit.size() == 3 && unit.ends_with("IB");
  if (binary)
    unit.resize(1);
  else if (unit.size() <= 2 && unit.ends_with('B'))
    unit.pop_back();
  const size_t power = unit.empty() ? 0 : std::string_view("KMGT").find(unit) + 1;  // npos + 1 = 0
  const bool known = unit.empty() ? !binary : unit.size() == 1 && power > 0;
  const double bytes = value * std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power));
  if (error != std::errc() || !known || !(bytes >= 1) || bytes > 1e18)
    fail(ErrorCode::invalid_argument, "{}: expected a size like 2.6GB, 2600MiB or 2600000000, found \"{}\"", where,
         printable(text, 40));
  return static_cast<int64_t>(bytes);
}

struct Arguments::Impl {
  struct Entry {
    CLI::Option* option;
    std::unique_ptr<std::string> value;  // of an option that may be given once
    std::function<void(const std::string&)> take;
    bool listed;
    std::unique_ptr<std::vector<std::string>> values = nullptr;  // of one whose every value is taken by `take`
  };
  CLI::App app;
  std::vector<Entry> entries;
  bool help = false;
  std::vector<std::pair<std::string, const char*>> topics;

  void add(const std::string& name, bool listed, std::function<void(const std::string&)> take) {
    auto value = std::make_unique<std::string>();
    CLI::Option* option = app.add_option(name, *value);
    entries.push_back({option, std::move(value), std::move(take), listed});
  }
  void add_list(const std::string& name, std::vector<std::string>& target) {
    // One value each time; CLI11 would take every word that follows.
    CLI::Option* option = app.add_option(name, target);
    option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
    entries.push_back({option, nullptr, nullptr, true});
  }
  void add_each(const std::string& name, std::function<void(const std::string&)> take) {
    auto values = std::make_unique<std::vector<std::string>>();
    add_list(name, *values);
    entries.back().values = std::move(values);
    entries.back().take = std::move(take);
  }
  std::vector<std::string> long_names(bool all) const {
    std::vector<std::string> out;
    for (const Entry& entry : entries)
      if (!entry.option->get_positional() && (all || entry.listed)) out.push_back(entry.option->get_name());
    for (const CLI::Option* option : app.get_options())
      if (option->get_items_expected_max() == 0) out.push_back("--" + option->get_lnames().front());
    return out;
  }
};

Arguments::Arguments(std::string command, std::string help)
    : command_(std::move(command)), help_(std::move(help)), impl_(std::make_unique<Impl>()) {
  impl_->app.set_help_flag();  // our own text
  impl_->app.add_flag("-h,--help", impl_->help);
  impl_->app.allow_extras();
}
Arguments::~Arguments() = default;

void Arguments::positional(const std::string& name, std::optional<std::string>& target) {
  impl_->add(name, true, [&target](const std::string& value) { target = value; });
}
void Arguments::positionals(const std::string& name, std::vector<std::string>& target) {
  CLI::Option* option = impl_->app.add_option(name, target);
  impl_->entries.push_back({option, nullptr, nullptr, true});
}
void Arguments::text(const std::string& name, std::optional<std::string>& target) {
  impl_->add(name, true, [&target](const std::string& value) { target = value; });
}
void Arguments::optional_text(const std::string& name, std::optional<std::string>& target) {
  impl_->add(name, true, [&target](const std::string& value) { target = value; });
  impl_->entries.back().option->expected(0, 1);
}
void Arguments::texts(const std::string& name, std::vector<std::string>& target) { impl_->add_list(name, target); }
void Arguments::whole(const std::string& name, std::optional<int64_t>& target, int64_t min, int64_t max) {
  impl_->add(name, true, [=, &target](const std::string& value) { target = parse_whole(name, value, min, max); });
}
void Arguments::seed(const std::string& name, std::optional<uint64_t>& target) {
  impl_->add(name, true, [=, &target](const std::string& value) { target = parse_seed(name, value); });
}
void Arguments::number(const std::string& name, std::optional<double>& target, double min) {
  impl_->add(name, true, [=, &target](const std::string& value) { target = parse_number(name, value, min); });
}
void Arguments::bytes(const std::string& name, std::optional<int64_t>& target) {
  impl_->add(name, true, [=, &target](const std::string& value) { target = parse_bytes(name, value); });
}
void Arguments::flag(const std::string& name, bool& target) { impl_->app.add_flag(name, target); }
void Arguments::optional_flag(const std::string& name, std::optional<bool>& target) {
  impl_->app.add_flag_callback(name, [&target] { target = true; });
}
void Arguments::not_yet(const std::string& name) {
  impl_->add(name, false, [=](const std::string&) {
    fail(ErrorCode::invalid_argument, "{}: not available yet in this version of easel", name);
  });
}

void Arguments::numbers(const std::string& name, std::vector<double>& target, double min) {
  impl_->add_each(name,
                  [&target, name, min](const std::string& value) { target.push_back(parse_number(name, value, min)); });
}
void Arguments::topic(const std::string& name, const char* text) { impl_->topics.emplace_back(name, text); }

std::string Arguments::all_help() const {
  std::string out = help_;
  for (const auto& [name, text] : impl_->topics) out += text;
  return out;
}

std::vector<std::string> Arguments::names() const { return impl_->long_names(false); }

bool Arguments::parse(std::span<const std::string> args) {
  const std::vector<std::string> known = impl_->long_names(true);
  std::vector<std::string> reversed;  // as CLI11 wants them
  for (const std::string& arg : args) {
    // CLI11 takes the next argument for the value of "--prompt=".
    const std::string name = arg.ends_with('=') ? arg.substr(0, arg.size() - 1) : "";
    if (!name.empty() && std::find(known.begin(), known.end(), name) != known.end()) {
      reversed.push_back(name);
      reversed.emplace_back();
    } else {
      reversed.push_back(arg);
    }
  }
  std::reverse(reversed.begin(), reversed.end());
  const std::string see = fmt::format(" (see easel {} --help)", command_);
  try {
    impl_->app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    const std::string what = error.what();
    const std::string name = what.substr(0, what.find_first_of(": "));
    for (const Impl::Entry& entry : impl_->entries)
      if (entry.option->get_name() == name && entry.option->count() > 1)
        fail(ErrorCode::invalid_argument, "{}: given more than once", name);
    if (name.starts_with('-') && what.find("required") != std::string::npos)
      fail(ErrorCode::invalid_argument, "{}: expected a value, found none{}", name, see);
    fail(ErrorCode::invalid_argument, "{}{}", printable(what), see);
  }
  if (impl_->help) {
    const char* page = help_.c_str();
    for (size_t i = 0; i + 1 < args.size(); ++i)
      for (const auto& [name, text] : impl_->topics)
        if ((args[i] == "--help" || args[i] == "-h") && args[i + 1] == name) page = text;
    std::fputs(page, stdout);
    return false;
  }
  // An unknown option explains a stray word after it, so it is named first.
  const std::vector<std::string> rest = impl_->app.remaining();
  for (const std::string& arg : rest) {
    if (arg.size() < 2 || arg[0] != '-') continue;
    const std::string name = arg.substr(0, arg.find('='));
    fail(ErrorCode::invalid_argument, "{}: no such option{}{}", printable(name, 60), did_you_mean(name, known), see);
  }
  for (const Impl::Entry& entry : impl_->entries)
    if (entry.take && entry.values)
      for (const std::string& value : *entry.values) entry.take(value);
    else if (entry.take && entry.option->count() > 0)
      entry.take(*entry.value);
  if (!rest.empty())
    fail(ErrorCode::invalid_argument, "unexpected argument \"{}\"; a text of several words needs quotes{}",
         printable(rest.front(), 60), see);
  return true;
}

}  // namespace easel::cli
