#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "text/clip_tables.h"
#include "text/unicode.h"

namespace easel::text {

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;
constexpr int64_t kMaxId = 1'000'000;
constexpr uintmax_t kMaxFile = 64u << 20;
constexpr int kClipLength = 77;

json parse_json(const std::string& contents, const std::string& where) {
  const auto check = [&](int depth, json::parse_event_t event, json&) {
    if ((event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) && depth >= kMaxDepth)
      fail(ErrorCode::io, "{}: expected at most {} levels of nesting, found more", where, kMaxDepth);
    return true;
  };
  json value;
  try {
    value = json::parse(contents.begin(), contents.end(), check);
  } catch (const json::parse_error& error) {
    fail(ErrorCode::io, "{}: expected JSON, found an error at byte {}", where, error.byte);
  } catch (const json::exception& error) {
    fail(ErrorCode::io, "{}: expected JSON: {}", where, printable(error.what()));
  }
  if (!value.is_object()) fail(ErrorCode::io, "{}: expected a JSON object, found another value", where);
  return value;
}

std::string shown(const json& value) {
  if (value.is_structured()) return value.is_object() ? "an object" : "a list";
  return printable(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

std::unordered_map<std::string, int32_t> read_vocab(const json& vocab, const std::string& where) {
  std::unordered_map<std::string, int32_t> out;
  std::unordered_map<int64_t, const std::string*> owners;
  for (const auto& [token, value] : vocab.items()) {
    const bool whole = value.is_number_integer() && (!value.is_number_unsigned() || value.get<uint64_t>() < kMaxId);
    const int64_t id = whole ? value.get<int64_t>() : -1;
    if (id < 0 || id >= kMaxId)
      fail(ErrorCode::io, "{}: token '{}': expected an id from 0 to {}, found {}", where, printable(token), kMaxId - 1,
           shown(value));
    const auto entry = out.emplace(token, static_cast<int32_t>(id)).first;
    const auto [owner, fresh] = owners.emplace(id, &entry->first);
    if (!fresh)
      fail(ErrorCode::io, "{}: token '{}': expected an id of its own, found {}, which is '{}'", where, printable(token),
           id, printable(*owner->second));
  }
  return out;
}

using Merges = std::vector<std::pair<std::string, std::string>>;

/// "left right" → both. Throws io.
std::pair<std::string, std::string> split_merge(std::string_view line, const std::string& where, size_t number) {
  const size_t space = line.find(' ');
  if (space == 0 || space >= line.size() - 1 || line.empty() || line.find(' ', space + 1) != line.npos ||
      find_invalid_utf8(line))
    fail(ErrorCode::io, "{}: merge {}: expected two tokens with a space between, found '{}'", where, number,
         printable(line));
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

Merges read_merges_text(std::string_view text, const std::string& where) {
  Merges out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == text.npos ? "" : text.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with("#version")) out.push_back(split_merge(line, where, out.size() + 1));
  }
  return out;
}

Merges read_merges_json(const json& merges, const std::string& where) {
  Merges out;
  for (const json& merge : merges) {
    if (merge.is_string())
      out.push_back(split_merge(merge.get_ref<const std::string&>(), where, out.size() + 1));
    else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    else
      fail(ErrorCode::io, "{}: merge {}: expected two tokens, found {}", where, out.size() + 1, shown(merge));
  }
  return out;
}

bool flag(const json& token, const char* key, bool fallback) {
  const auto found = token.find(key);
  return found != token.end() && found->is_boolean() ? found->get<bool>() : fallback;
}

/// A string, or {"content": …, "normalized": …, …}.
AddedToken read_token(const json& value, const std::string& where) {
  AddedToken token;
  if (value.is_string()) {
    token.content = value.get<std::string>();
  } else if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    token.content = value["content"].get<std::string>();
    token.special = flag(value, "special", false);
    token.normalized = flag(value, "normalized", !token.special);
    token.lstrip = flag(value, "lstrip", false);
    token.rstrip = flag(value, "rstrip", false);
    token.single_word = flag(value, "single_word", false);
  }
  if (token.content.empty()) fail(ErrorCode::io, "{}: expected a token, found {}", where, shown(value));
  return token;
}

int64_t read_id(const json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() >= static_cast<uint64_t>(kMaxId))
    fail(ErrorCode::io, "{}: expected an id from 0 to {}, found {}", where, kMaxId - 1, shown(value));
  return value.get<int64_t>();
}

int read_length(const json& config, const std::string& where) {
  const json* value = nullptr;
  for (const char* key : {"max_len", "model_max_length"})
    if (config.contains(key) && !config[key].is_null()) value = &config[key];
  if (!value) return kClipLength;
  const double number = value->is_number() ? value->get<double>() : 0;
  if (number < 2 || number != std::floor(number))
    fail(ErrorCode::io, "{}: model_max_length: expected a whole number of at least 2, found {}", where, shown(*value));
  return number < kMaxId ? static_cast<int>(number) : kClipLength;  // transformers writes 10³⁰ for "not known"
}

constexpr std::array<const char*, 7> kNamed = {"bos_token", "eos_token", "unk_token", "sep_token",
                                               "pad_token", "cls_token", "mask_token"};

using Declared = std::map<int64_t, AddedToken>;

/// The tokens that files with ids list. Without added_tokens_decoder the older files count, and what
/// special_tokens_map.json says replaces the values in `config`.
Declared read_declared(const ClipTokenizerFiles& files, const std::string& where, json& config, const json& tokenizer) {
  Declared out;
  const std::string config_name = where + "/tokenizer_config.json: added_tokens_decoder";
  if (const auto decoder = config.find("added_tokens_decoder"); decoder != config.end()) {
    if (!decoder->is_object()) fail(ErrorCode::io, "{}: expected an object, found {}", config_name, shown(*decoder));
    for (const auto& [key, value] : decoder->items()) {
      const bool digits = !key.empty() && key.size() < 8 && key.find_first_not_of("0123456789") == key.npos;
      out[read_id(digits ? json(std::stoul(key)) : json(key), config_name)] = read_token(value, config_name);
    }
    return out;
  }
  if (files.special_tokens_map_json) {
    const json map = parse_json(*files.special_tokens_map_json, where + "/special_tokens_map.json");
    for (const auto& [key, value] : map.items())
      if (!value.is_null()) config[key] = value;
  }
  if (files.added_tokens_json) {
    const std::string name = where + "/added_tokens.json";
    const json added = parse_json(*files.added_tokens_json, name);
    for (const auto& [content, value] : added.items()) {
      AddedToken token = read_token(content, name);
      token.special = false;
      for (const char* key : kNamed)
        if (config.contains(key) && !config[key].is_null())
          token.special |= read_token(config[key], where + ": " + key).content == content;
      token.normalized = !token.special;
      out[read_id(value, name + ": '" + printable(content) + "'")] = token;
    }
  }
  if (const auto added = tokenizer.find("added_tokens"); added != tokenizer.end()) {
    const std::string name = where + "/tokenizer.json: added_tokens";
    if (!added->is_array()) fail(ErrorCode::io, "{}: expected a list, found {}", name, shown(*added));
    for (const json& value : *added)
      out[read_id(value.is_object() && value.contains("id") ? value["id"] : json(), name)] = read_token(value, name);
  }
  return out;
}

/// Tokens in the order in which transformers adds them; a later one replaces its namesake.
struct AddedList {
  std::vector<AddedToken> tokens;
  std::unordered_map<std::string, size_t> positions;

  void add(AddedToken token) {
    const auto [entry, fresh] = positions.emplace(token.content, tokens.size());
    if (fresh)
      tokens.push_back(std::move(token));
    else
      tokens[entry->second] = std::move(token);
  }
};

AddedList collect_added(const Declared& declared, const json& config, const std::string& where) {
  AddedList list;
  for (const auto& [id, token] : declared) list.add(token);
  const auto known = list.positions;
  const auto add = [&](const json& value, const std::string& name) {
    AddedToken token = read_token(value, name);
    if (known.contains(token.content)) return;
    token.special = true;
    list.add(std::move(token));
  };
  for (const char* key : kNamed)
    if (config.contains(key) && !config[key].is_null()) add(config[key], where + "/tokenizer_config.json: " + key);
  for (const char* key : {"extra_special_tokens", "additional_special_tokens"})
    if (config.contains(key) && config[key].is_array() && !config[key].empty()) {
      for (const json& value : config[key]) add(value, where + "/tokenizer_config.json: " + key);
      break;
    }
  return list;
}

std::optional<std::string> read_file(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return std::nullopt;
  const std::string name = printable(path, 300);
  if (!fs::is_regular_file(status)) fail(ErrorCode::io, "{}: expected a file, found something else", name);
  const uintmax_t size = fs::file_size(path, error);
  if (!error && size > kMaxFile) fail(ErrorCode::io, "{}: expected at most {} bytes, found {}", name, kMaxFile, size);
  std::ifstream file(path, std::ios::binary);
  std::string contents(error ? 0 : size, '\0');
  file.read(contents.data(), static_cast<std::streamsize>(contents.size()));
  if (error || !file) fail(ErrorCode::io, "{}: cannot be read", name);
  return contents;
}

}  // namespace

ClipTokenizer::Tables read_clip_tables(const ClipTokenizerFiles& files, const std::string& where_text) {
  const std::string where = printable(where_text, 300);
  json config = json::object(), tokenizer = json::object();
  if (files.tokenizer_config_json) config = parse_json(*files.tokenizer_config_json, where + "/tokenizer_config.json");

  std::unordered_map<std::string, int32_t> vocab;
  Merges merges;
  std::string vocab_name = where + "/vocab.json", merges_name = where + "/merges.txt";
  if (files.tokenizer_json) {
    vocab_name = merges_name = where + "/tokenizer.json";
    tokenizer = parse_json(*files.tokenizer_json, vocab_name);
    const auto model = tokenizer.find("model");
    const bool whole = model != tokenizer.end() && model->is_object() && model->value("type", json("BPE")) == "BPE" &&
                       model->contains("vocab") && (*model)["vocab"].is_object() && model->contains("merges") &&
                       (*model)["merges"].is_array();
    if (!whole)
      fail(ErrorCode::io, "{}: model: expected type BPE with a vocab object and a list of merges, found others",
           vocab_name);
    vocab = read_vocab((*model)["vocab"], vocab_name);
    merges = read_merges_json((*model)["merges"], merges_name);
  } else {
    if (!files.vocab_json || !files.merges_txt)
      fail(ErrorCode::io, "{}: expected vocab.json and merges.txt, or tokenizer.json; found no {}", where,
           files.vocab_json ? "merges.txt" : "vocab.json");
    vocab = read_vocab(parse_json(*files.vocab_json, vocab_name), vocab_name);
    merges = read_merges_text(*files.merges_txt, merges_name);
  }

  const Declared declared = read_declared(files, where, config, tokenizer);
  if (!files.pad_token.empty()) config["pad_token"] = files.pad_token;
  // bos, eos, unk and pad always exist: these are the class's defaults.
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"})
    if (!config.contains(key) || config[key].is_null())
      config[key] = key == std::string_view("bos_token") ? "<|startoftext|>" : "<|endoftext|>";
  AddedList added = collect_added(declared, config, where);

  auto next = static_cast<int32_t>(vocab.size());
  int32_t largest = -1;
  for (AddedToken& token : added.tokens) {
    const auto found = vocab.find(token.content);
    token.id = found != vocab.end() ? found->second : std::max(next, largest + 1);
    largest = std::max(largest, token.id);
    token.form = token.normalized ? clip_normalize(token.content) : token.content;
  }
  const auto id_of = [&](const char* key) {
    const std::string content = read_token(config[key], where + ": " + key).content;
    bool listed = vocab.contains(content);
    for (const auto& [id, token] : declared) listed |= token.content == content;
    if (!listed)
      fail(ErrorCode::io, "{}: {}: expected '{}' in the vocabulary, found none", vocab_name, key, printable(content));
    return added.tokens[added.positions.at(content)].id;
  };
  const int32_t bos = id_of("bos_token"), eos = id_of("eos_token"), unk = id_of("unk_token"), pad = id_of("pad_token");

  int32_t largest_id = largest;
  for (const auto& [token, id] : vocab) largest_id = std::max(largest_id, id);
  std::vector<std::string> tokens(static_cast<size_t>(largest_id) + 1);
  for (const auto& [token, id] : vocab) tokens[static_cast<size_t>(id)] = token;
  for (const AddedToken& token : added.tokens) tokens[static_cast<size_t>(token.id)] = token.content;
  return {.bpe = Bpe(std::move(vocab), merges, unk, merges_name),
          .added = std::move(added.tokens),
          .tokens = std::move(tokens),
          .max_length = read_length(config, where + "/tokenizer_config.json"),
          .bos = bos,
          .eos = eos,
          .pad = pad,
          .unk = unk};
}

ClipTokenizer ClipTokenizer::load(const std::string& folder, const std::string& pad_token) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    fail(ErrorCode::io, "{}: expected a tokenizer folder, found none", printable(folder, 300));
  ClipTokenizerFiles files;
  files.pad_token = pad_token;
  files.tokenizer_json = read_file(folder + "/tokenizer.json");
  if (!files.tokenizer_json) {
    files.vocab_json = read_file(folder + "/vocab.json");
    files.merges_txt = read_file(folder + "/merges.txt");
  }
  files.tokenizer_config_json = read_file(folder + "/tokenizer_config.json");
  files.special_tokens_map_json = read_file(folder + "/special_tokens_map.json");
  files.added_tokens_json = read_file(folder + "/added_tokens.json");
  return parse(files, folder);
}

}  // namespace easel::text
