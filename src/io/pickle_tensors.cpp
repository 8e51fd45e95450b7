// From the values of a pickle to named tensors.
#include <set>

#include "base/fail.h"
#include "io/pickle.h"
#include "io/pickle_globals.h"

namespace easel::io {

namespace {

constexpr int kMaxDictionaries = 32;
constexpr int kMaxWrappers = 4;
constexpr size_t kMaxEntries = 200'000;  // a checkpoint of Stable Diffusion XL has 2 600

void append_key(std::string& name, const Pickle::Node& key) {
  if (key.kind == Pickle::Kind::integer)
    name += std::to_string(key.integer);
  else
    name += key.text;
}

}  // namespace

struct Pickle::Walk {
  std::string where;
  std::vector<PickledTensor> out;
  std::set<std::string> names;
  size_t entries = 0;
};

const Pickle::Node* Pickle::find(const Node& dict, std::string_view key) const {
  if (dict.kind != Kind::dict) return nullptr;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (node(dict.items[i]).kind == Kind::text && node(dict.items[i]).text == key) return &node(dict.items[i + 1]);
  return nullptr;
}

// What a training program laid the weights in, beside its own state; nullptr where the tensors are in `dict` itself.
const Pickle::Node* Pickle::wrapped(const Node& dict) const {
  if (dict.kind != Kind::dict) return nullptr;
  const Node* inner = find(dict, "state_dict");
  if (inner && inner->kind == Kind::dict) return inner;
  for (size_t i = 1; i < dict.items.size(); i += 2)
    if (node(dict.items[i]).kind == Kind::tensor) return nullptr;
  for (const char* key : {"module", "model"})
    if ((inner = find(dict, key)) && inner->kind == Kind::dict) return inner;
  return nullptr;
}

// `name` begins with what stands before the keys of `dict`, and is the same again afterwards.
void Pickle::walk(const Node& dict, std::string& name, int depth, Walk& state) const {
  const size_t prefix = name.size();
  if (depth > kMaxDictionaries)
    fail(ErrorCode::io, "{}: expected dictionaries nested at most {} deep, found more", state.where, kMaxDictionaries);
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Node &key = node(dict.items[i]), &value = node(dict.items[i + 1]);
    // Shared dictionaries expand: two entries each, thirty deep, are a billion.
    if (++state.entries > kMaxEntries)
      fail(ErrorCode::io, "{}: expected at most {} entries in its dictionaries, found more (shared ones count anew)",
           state.where, kMaxEntries);
    if (value.kind != Kind::dict && value.kind != Kind::tensor) continue;
    if (key.kind != Kind::text && key.kind != Kind::integer)
      fail(ErrorCode::io, "{}: '{}': expected texts as names of tensors, found another value", state.where,
           printable(name));
    append_key(name, key);
    if (name.size() > 1000)
      fail(ErrorCode::io, "{}: '{}': expected names of at most 1000 bytes", state.where, printable(name));
    if (value.kind == Kind::dict) {
      name += '.';
      walk(value, name, depth + 1, state);
      name.resize(prefix);
      continue;
    }
    for (const char c : name)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
        fail(ErrorCode::io, "{}: tensor '{}': expected a name without control characters", state.where,
             printable(name));
    if (!state.names.insert(name).second)
      fail(ErrorCode::io, "{}: tensor '{}' occurs twice", state.where, printable(name));
    state.out.push_back(tensors_[static_cast<size_t>(value.integer)]);
    state.out.back().name = name;
    name.resize(prefix);
  }
}

std::vector<PickledTensor> Pickle::named_tensors(std::string_view where) const {
  Walk state{printable(where, 300), {}, {}, 0};
  const Node* dict = &root();
  for (int depth = 0; depth < kMaxWrappers; ++depth) {
    const Node* inner = wrapped(*dict);
    if (!inner) break;
    dict = inner;
  }
  if (dict->kind != Kind::dict)
    fail(ErrorCode::io, "{}: expected a dictionary of tensors, found another value", state.where);
  std::string name;
  walk(*dict, name, 1, state);
  return std::move(state.out);
}

std::map<std::string, uint64_t> Pickle::storage_element_bytes() const {
  std::map<std::string, uint64_t> out;
  for (const Node& storage : nodes_)
    if (storage.kind == Kind::storage)
      out[std::string(storage.text)] =
          static_cast<uint64_t>(size_of(*kAllowedGlobals[node(storage.items[0]).integer].dtype));
  return out;
}

std::map<std::string, std::string> Pickle::scalars() const {
  std::map<std::string, std::string> out;
  if (root().kind != Kind::dict) return out;
  for (size_t i = 0; i + 1 < root().items.size(); i += 2) {
    const Node &key = node(root().items[i]), &value = node(root().items[i + 1]);
    if (key.kind != Kind::text) continue;
    const std::string name(key.text);
    if (value.kind == Kind::integer) out[name] = std::to_string(value.integer);
    if (value.kind == Kind::boolean) out[name] = value.integer ? "true" : "false";
    if (value.kind == Kind::real) out[name] = fmt::format("{}", value.real);
    if (value.kind == Kind::text) out[name] = value.text;
  }
  return out;
}

}  // namespace easel::io
