#include "text/bpe.h"

#include <queue>
#include <tuple>

#include "base/fail.h"
#include "text/unicode.h"

namespace easel::text {

namespace {

constexpr std::string_view kSuffix = "</w>";

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

const std::array<std::string, 256>& byte_characters() {
  static const std::array<std::string, 256> characters = [] {
    std::array<std::string, 256> out;
    char32_t next = 256;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      append_code_point(out[byte], itself ? static_cast<char32_t>(byte) : next++);
    }
    return out;
  }();
  return characters;
}

std::string token_bytes(std::string_view token) {
  static const std::unordered_map<std::string_view, char> bytes = [] {
    std::unordered_map<std::string_view, char> out;
    for (size_t byte = 0; byte < 256; ++byte) out.emplace(byte_characters()[byte], static_cast<char>(byte));
    return out;
  }();
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const size_t start = i;
    next_code_point(token, i);
    const auto found = bytes.find(token.substr(start, i - start));
    if (found == bytes.end()) return std::string(token);
    out += found->second;
  }
  return out;
}

Bpe::Bpe(std::unordered_map<std::string, int32_t> vocab, const std::vector<std::pair<std::string, std::string>>& merges,
         int32_t unknown, std::string_view where)
    : vocab_(std::move(vocab)) {
  merges_.reserve(merges.size());
  int32_t rank = 0;
  for (const auto& [left, right] : merges) {
    const int32_t left_id = id_of(left), right_id = id_of(right), id = id_of(left + right);
    const std::string* missing = left_id < 0 ? &left : right_id < 0 ? &right : nullptr;
    if (missing || id < 0)
      fail(ErrorCode::io, "{}: merge {} ('{}' '{}'): expected '{}' in the vocabulary, found none", where, rank + 1,
           printable(left), printable(right), printable(missing ? *missing : left + right));
    merges_[pair_key(left_id, right_id)] = {rank++, id};
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string& character = byte_characters()[byte];
    const int32_t inner = id_of(character), last = id_of(character + std::string(kSuffix));
    inner_[byte] = inner < 0 ? unknown : inner;
    last_[byte] = last < 0 ? unknown : last;
  }
}

int32_t Bpe::id_of(const std::string& token) const {
  const auto found = vocab_.find(token);
  return found == vocab_.end() ? -1 : found->second;
}

const Bpe::Merge* Bpe::merge(int32_t left, int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  struct Symbol {
    int32_t id;
    size_t previous, next;
    bool joined = false;  // into the one before
  };
  constexpr size_t kNone = static_cast<size_t>(-1);
  std::vector<Symbol> symbols(word.size());
  for (size_t i = 0; i < word.size(); ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    const bool last = i + 1 == word.size();
    symbols[i] = {last ? last_[byte] : inner_[byte], i == 0 ? kNone : i - 1, last ? kNone : i + 1};
  }

  using Candidate = std::tuple<int32_t, size_t, int32_t>;  // rank, position, id of the joined token
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](size_t left) {
    if (left == kNone || symbols[left].next == kNone) return;
    if (const Merge* found = merge(symbols[left].id, symbols[symbols[left].next].id))
      queue.emplace(found->rank, left, found->id);
  };
  for (size_t i = 0; i < symbols.size(); ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, position, id] = queue.top();
    queue.pop();
    Symbol& left = symbols[position];
    if (left.joined || left.next == kNone) continue;
    Symbol& right = symbols[left.next];
    const Merge* found = merge(left.id, right.id);
    if (!found || found->id != id) continue;  // one of the two has changed since it was offered
    left.id = id;
    left.next = right.next;
    right.joined = true;
    if (left.next != kNone) symbols[left.next].previous = position;
    offer(left.previous);
    offer(position);
  }
  for (size_t i = 0; i < symbols.size(); i = symbols[i].next) {
    ids.push_back(symbols[i].id);
    if (symbols[i].next == kNone) break;
  }
}

}  // namespace easel::text
