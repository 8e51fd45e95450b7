// Python pickles, read by an interpreter that runs nothing: it builds plain values, and knows by name the few
// functions with which torch puts tensors together. https://docs.python.org/3/library/pickletools.html
#pragma once

#include <easel/dtype.h>
#include <easel/shape.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace easel::io {

/// What a pickle says about a tensor; its elements lie elsewhere.
struct PickledTensor {
  std::string name;            ///< path of keys, joined by dots
  std::string storage;         ///< key of the storage
  uint64_t storage_bytes = 0;  ///< as the pickle says
  uint64_t offset = 0;         ///< of the first element in the storage, in elements
  DType dtype = DType::f32;    ///< of the elements
  Shape shape, strides;        ///< strides in elements, not negative
};

/// A parsed pickle: a graph of values in which none is ever called, imported or looked up outside of it.
class Pickle {
 public:
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    big_integer,  ///< more than 64 bits: text holds the little-endian bytes
    real,
    text,
    bytes,
    tuple,
    list,
    set,
    dict,     ///< items: key, value, key, value …
    global,   ///< an allowed name; never anything but a name
    storage,  ///< text: key, integer: bytes, items: the type
    tensor,   ///< integer: index into tensors()
    opaque,   ///< something without tensors that is not looked into
    mark,
  };
  struct Node {
    Kind kind = Kind::none;
    uint32_t depth = 0;  ///< levels of containers below, when it was filled
    int64_t integer = 0;
    double real = 0;
    std::string_view text;
    std::vector<uint32_t> items;
  };

  /// Reads one pickle from the start of `bytes` (it may be followed by others). Throws io, naming `where`, the byte,
  /// the opcode and what it asks for: for every import outside the list, every opcode that would call, instantiate or
  /// look up an extension, nesting deeper than 1000, and more than two million values.
  Pickle(std::span<const std::byte> bytes, std::string_view where);
  Pickle(Pickle&&) = default;  // a copy's texts would still be those of the first

  const Node& root() const { return nodes_[root_]; }
  const Node& node(uint32_t index) const { return nodes_[index]; }
  /// Bytes that the pickle took.
  size_t size() const noexcept { return size_; }
  /// nullptr if `dict` has no such text key.
  const Node* find(const Node& dict, std::string_view key) const;

  /// The tensors below the root, or below what a training program laid them in ("state_dict", else "module" or "model"
  /// where no tensor stands beside it), with the keys that lead to them as names.
  /// Throws io for keys that are neither text nor numbers, names that repeat, dictionaries nested deeper than 32, and
  /// shared dictionaries that expand to more than a million entries.
  std::vector<PickledTensor> named_tensors(std::string_view where) const;
  /// The bytes of an element of each storage that occurs.
  std::map<std::string, uint64_t> storage_element_bytes() const;
  /// Numbers, booleans and texts of the root dictionary ("epoch", "global_step"), as text.
  std::map<std::string, std::string> scalars() const;

 private:
  friend class PickleMachine;
  struct Walk;
  const Node* wrapped(const Node& dict) const;
  void walk(const Node& dict, std::string& name, int depth, Walk& state) const;

  std::vector<Node> nodes_;
  std::vector<PickledTensor> tensors_;
  std::deque<std::string> texts_;  // those that are not part of the bytes as they stand
  uint32_t root_ = 0;
  size_t size_ = 0;
};

}  // namespace easel::io
