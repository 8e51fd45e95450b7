// Longer than most files: one machine, whose opcodes are best read side by side.
#include "io/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include "base/fail.h"
#include "io/byte_cursor.h"
#include "io/latin1.h"
#include "io/pickle_globals.h"

namespace easel::io {

namespace {

constexpr size_t kMaxValues = 2'000'000;  // a checkpoint of Stable Diffusion 1.5 has 40 000
constexpr size_t kMaxOpcodes = 20'000'000;
constexpr size_t kMaxItems = 20'000'000;  // of all containers: copies of shared ones count
constexpr size_t kMaxArguments = 16;
constexpr uint32_t kMaxDepth = 1000;

// Opcodes that would run something, or need what a checkpoint of tensors never needs.
struct Refused {
  uint8_t code;
  const char* name;
  const char* what;
};
constexpr Refused kRefused[] = {
    {'i', "INST", "makes an instance of a class"},
    {'o', "OBJ", "makes an instance of a class"},
    {0x81, "NEWOBJ", "makes an instance of a class"},
    {0x92, "NEWOBJ_EX", "makes an instance of a class"},
    {0x82, "EXT1", "looks up an extension"},
    {0x83, "EXT2", "looks up an extension"},
    {0x84, "EXT4", "looks up an extension"},
    {'P', "PERSID", "asks for an object by a text"},
    {0x97, "NEXT_BUFFER", "asks for a buffer outside the file"},
    {0x98, "READONLY_BUFFER", "asks for a buffer outside the file"},
    {0x96, "BYTEARRAY8", "makes a changeable array of bytes"},
};

}  // namespace

/// Runs the opcodes of one pickle over a stack of values.
class PickleMachine : ByteCursor<PickleMachine> {
 public:
  PickleMachine(Pickle& out, std::span<const std::byte> bytes, std::string_view where)
      : ByteCursor(bytes), out_(out), where_(printable(where, 300)) {}

  void run() {
    for (size_t count = 0;; ++count) {
      if (count >= kMaxOpcodes) refuse("expected at most {} opcodes, found more", kMaxOpcodes);
      opcode_at_ = ByteCursor::at();
      const auto code = static_cast<uint8_t>(take(1)[0]);
      if (code == '.') break;
      step(code);
    }
    out_.root_ = pop();
    if (!stack_.empty()) refuse("expected one value at STOP, found {}", stack_.size() + 1);
    out_.size_ = ByteCursor::at();
  }

 private:
  friend ByteCursor;
  using Kind = Pickle::Kind;
  using Node = Pickle::Node;

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::io, "{}: pickle, byte {}: {}", where_, opcode_at_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- reading -------------------------------------------------------------------------------------------------

  template <typename T>
  T parsed(std::string_view text) const {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      refuse("expected a number, found '{}'", printable(text, 40));
    return value;
  }
  std::string_view keep(std::string text) { return out_.texts_.emplace_back(std::move(text)); }

  // ---- the stack -----------------------------------------------------------------------------------------------

  uint32_t make(Node node) {
    if (out_.nodes_.size() >= kMaxValues) refuse("expected at most {} values, found more", kMaxValues);
    out_.nodes_.push_back(std::move(node));
    return static_cast<uint32_t>(out_.nodes_.size() - 1);
  }
  void push(uint32_t index) { stack_.push_back(index); }
  void push(Node node) {
    // DUP and GET add to the stack without adding values.
    if (stack_.size() >= kMaxValues) refuse("expected at most {} values on the stack, found more", kMaxValues);
    stack_.push_back(make(std::move(node)));
  }
  void push(Kind kind, int64_t integer = 0) {
    Node node;
    node.kind = kind;
    node.integer = integer;
    push(std::move(node));
  }
  void push_text(Kind kind, std::string_view text) {
    Node node;
    node.kind = kind;
    node.text = text;
    push(std::move(node));
  }
  uint32_t pop() {
    if (stack_.empty() || at(stack_.back()).kind == Kind::mark) refuse("the stack holds no value for the opcode");
    const uint32_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  uint32_t top() const {
    if (stack_.empty() || at(stack_.back()).kind == Kind::mark) refuse("the stack holds no value for the opcode");
    return stack_.back();
  }
  std::vector<uint32_t> pop_to_mark() {
    size_t mark = stack_.size();
    while (mark > 0 && at(stack_[mark - 1]).kind != Kind::mark) --mark;
    if (mark == 0) refuse("the stack holds no mark for the opcode");
    std::vector<uint32_t> items(stack_.begin() + static_cast<ptrdiff_t>(mark), stack_.end());
    stack_.resize(mark - 1);
    return items;
  }
  Node& at(uint32_t index) { return out_.nodes_[index]; }
  const Node& at(uint32_t index) const { return out_.nodes_[index]; }

  void add(uint32_t container, std::span<const uint32_t> items) {
    uint32_t depth = at(container).depth;
    for (const uint32_t item : items) depth = std::max(depth, at(item).depth + 1);
    if (depth > kMaxDepth) refuse("expected values nested at most {} deep, found more", kMaxDepth);
    items_ += items.size();
    if (items_ > kMaxItems) refuse("expected at most {} items in containers, found more", kMaxItems);
    at(container).depth = depth;
    at(container).items.insert(at(container).items.end(), items.begin(), items.end());
  }
  void push_container(Kind kind, std::span<const uint32_t> items) {
    push(kind);
    add(stack_.back(), items);
  }
  void extend(Kind kind, const char* opcode, std::span<const uint32_t> items) {
    const uint32_t target = top();
    if (at(target).kind == Kind::opaque) return;
    if (at(target).kind != kind) refuse("{}: expected a container of its kind below, found another value", opcode);
    if (kind == Kind::dict && items.size() % 2 != 0) refuse("{}: a key has no value", opcode);
    add(target, items);
  }

  void remember(uint64_t index) {
    if (memo_.size() >= kMaxValues) refuse("expected at most {} remembered values, found more", kMaxValues);
    memo_[index] = top();
  }
  void recall(uint64_t index) {
    const auto found = memo_.find(index);
    if (found == memo_.end()) refuse("no value was remembered as {}", index);
    if (stack_.size() >= kMaxValues) refuse("expected at most {} values on the stack, found more", kMaxValues);
    push(found->second);
  }

  // ---- values --------------------------------------------------------------------------------------------------

  void push_long(std::string_view bytes) {
    if (bytes.size() > 8) return push_text(Kind::big_integer, bytes);
    uint64_t value = !bytes.empty() && static_cast<uint8_t>(bytes.back()) & 0x80 ? ~uint64_t{0} : 0;
    for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
    push(Kind::integer, static_cast<int64_t>(value));
  }

  // The quoted text of protocol 0, with Python's escapes.
  void push_quoted(std::string_view text) {
    if (text.size() < 2 || text.front() != text.back() || (text.front() != '\'' && text.front() != '"'))
      refuse("STRING: expected a quoted text, found '{}'", printable(text, 40));
    text = text.substr(1, text.size() - 2);
    push_text(Kind::text, text.find('\\') == std::string_view::npos ? text : keep(unescaped(text)));
  }

  static std::string unescaped(std::string_view text) {
    static constexpr std::string_view kFrom = "nrtab\\'\"0", kTo{"\n\r\t\a\b\\'\"\0", 9};
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      unsigned value = 0;
      if (text[i] != '\\' || i + 1 == text.size()) {
        out += text[i];
      } else if (text[i + 1] == 'x' && i + 3 < text.size() &&
                 std::from_chars(&text[i + 2], &text[i + 2] + 2, value, 16).ptr == &text[i + 2] + 2) {
        out += static_cast<char>(value);
        i += 3;
      } else {
        const size_t known = kFrom.find(text[++i]);
        out += known == std::string_view::npos ? text[i] : kTo[known];
      }
    }
    return out;
  }

  void import(std::string_view module, std::string_view name) {
    const AllowedGlobal* allowed = find_allowed_global(module, name);
    if (!allowed)
      refuse("it asks to import '{}.{}', which no checkpoint of tensors needs: refused, nothing was run (GLOBAL)",
             printable(module, 100), printable(name, 100));
    push(Kind::global, allowed - kAllowedGlobals);
  }

  const AllowedGlobal* global_of(const Node& node) const {
    return node.kind == Kind::global ? &kAllowedGlobals[node.integer] : nullptr;
  }

  // A copy, because what is made of it may move the nodes.
  Node arguments_of(uint32_t index, const char* opcode) const {
    if (at(index).kind != Kind::tuple || at(index).items.size() > kMaxArguments)
      refuse("{}: expected a tuple of at most {} values", opcode, kMaxArguments);
    return at(index);
  }

  // ('storage', type, key, location, number of elements[, view])
  void push_storage(const Node& id) {
    const auto part = [&](size_t i) -> const Node& { return at(id.items[i]); };
    const AllowedGlobal* type = nullptr;
    if (id.items.size() < 5 || part(0).kind != Kind::text || part(0).text != "storage" ||
        !(type = global_of(part(1))) || type->role != GlobalRole::storage || part(4).kind != Kind::integer ||
        (part(2).kind != Kind::text && part(2).kind != Kind::integer))
      refuse("BINPERSID: expected ('storage', type, key, location, size), found another value");
    // Views of a part of a storage were written by torch before 0.4 only.
    if (id.items.size() > 5 && part(5).kind != Kind::none)
      refuse("BINPERSID: storages that are views of others are not read; save the file again with a newer torch");
    uint64_t bytes = 0;
    if (part(4).integer < 0 || __builtin_mul_overflow(static_cast<uint64_t>(part(4).integer),
                                                      static_cast<uint64_t>(size_of(*type->dtype)), &bytes))
      refuse("BINPERSID: expected a number of elements, found {}", part(4).integer);
    Node node;
    node.kind = Kind::storage;
    node.text = part(2).kind == Kind::text ? part(2).text : keep(std::to_string(part(2).integer));
    node.integer = static_cast<int64_t>(bytes);
    node.items = {id.items[1]};
    push(std::move(node));
  }

  Shape sizes(const Node& node, const char* what) const {
    Shape out;
    if (node.kind != Kind::tuple && node.kind != Kind::list) refuse("tensor: expected {} as a tuple", what);
    for (const uint32_t item : node.items) {
      if (at(item).kind != Kind::integer || at(item).integer < 0)
        refuse("tensor: expected {} of whole numbers from 0, found another value", what);
      if (out.rank() == kMaxRank) refuse("tensor: expected at most {} dimensions, found more", kMaxRank);
      out.push_back(at(item).integer);
    }
    return out;
  }

  void rebuild_tensor(const Node& arguments, bool with_dtype) {
    if (arguments.items.size() < (with_dtype ? 7 : 4)) refuse("tensor: expected more arguments");
    const Node &storage = at(arguments.items[0]), &offset = at(arguments.items[1]);
    if (storage.kind != Kind::storage || offset.kind != Kind::integer || offset.integer < 0)
      refuse("tensor: expected a storage and an offset, found other values");
    PickledTensor tensor;
    tensor.storage = storage.text;
    tensor.storage_bytes = static_cast<uint64_t>(storage.integer);
    tensor.offset = static_cast<uint64_t>(offset.integer);
    tensor.dtype = *global_of(at(storage.items[0]))->dtype;
    tensor.shape = sizes(at(arguments.items[2]), "a size");
    tensor.strides = sizes(at(arguments.items[3]), "a stride");
    if (tensor.shape.rank() != tensor.strides.rank()) refuse("tensor: size and stride have different lengths");
    if (with_dtype) {
      const AllowedGlobal* type = global_of(at(arguments.items[6]));
      if (!type || type->role != GlobalRole::dtype) refuse("tensor: expected a dtype, found another value");
      tensor.dtype = *type->dtype;
    }
    out_.tensors_.push_back(std::move(tensor));
    push(Kind::tensor, static_cast<int64_t>(out_.tensors_.size()) - 1);
  }

  // numpy's float32, int64 …: dtype and little-endian bytes.
  void push_numpy_scalar(const Node& arguments) {
    if (arguments.items.size() != 2) refuse("numpy scalar: expected a dtype and bytes");
    const Node &type = at(arguments.items[0]), &value = at(arguments.items[1]);
    const std::string_view code = type.text, bytes = value.text;
    if (type.kind != Kind::opaque || value.kind != Kind::bytes || code.size() < 2 ||
        std::to_string(bytes.size()) != code.substr(1))
      refuse("numpy scalar: expected a dtype and bytes that fit it");
    if (code == "f8" || code == "f4") {
      double real = 0;
      float single = 0;
      if (code == "f8") {
        std::memcpy(&real, bytes.data(), 8);
      } else {
        std::memcpy(&single, bytes.data(), 4);
        real = single;
      }
      Node node;
      node.kind = Kind::real;
      node.real = real;
      return push(std::move(node));
    }
    if (code == "b1") return push(Kind::boolean, bytes[0] != 0);
    if (code[0] == 'i') return push_long(bytes);
    if (code[0] == 'u') return push_long(keep(std::string(bytes) + '\0'));  // a sign byte of zero
    refuse("numpy scalar: expected a number, found dtype '{}'", printable(code, 20));
  }

  void reduce() {
    const uint32_t arguments_index = pop(), callable_index = pop();
    const AllowedGlobal* callable = global_of(at(callable_index));
    if (!callable)
      refuse("REDUCE: expected one of the allowed functions, found another value: refused, nothing was run");
    const Node arguments = arguments_of(arguments_index, "REDUCE");
    const auto only = [&](Kind kind) -> const Node& {
      if (arguments.items.size() != 1 || at(arguments.items[0]).kind != kind)
        refuse("REDUCE: {}.{}: expected one argument of its kind", callable->module, callable->name);
      return at(arguments.items[0]);
    };
    switch (callable->role) {
      case GlobalRole::ordered_dict: {
        std::vector<uint32_t> items;
        if (!arguments.items.empty())
          for (const uint32_t pair : only(Kind::list).items) {
            const Node& node = at(pair);
            if ((node.kind != Kind::tuple && node.kind != Kind::list) || node.items.size() != 2)
              refuse("OrderedDict: expected pairs, found another value");
            items.insert(items.end(), node.items.begin(), node.items.end());
          }
        return push_container(Kind::dict, items);
      }
      case GlobalRole::set: {
        const std::vector<uint32_t> items = only(Kind::list).items;
        return push_container(Kind::set, items);
      }
      case GlobalRole::size: {
        const std::vector<uint32_t> items = only(Kind::tuple).items;
        return push_container(Kind::tuple, items);
      }
      case GlobalRole::rebuild_tensor: return rebuild_tensor(arguments, false);
      case GlobalRole::rebuild_tensor_v3: return rebuild_tensor(arguments, true);
      case GlobalRole::rebuild_parameter:
        if (arguments.items.empty() || at(arguments.items[0]).kind != Kind::tensor)
          refuse("_rebuild_parameter: expected a tensor, found another value");
        return push(arguments.items[0]);
      case GlobalRole::encode: {
        const bool latin1 = arguments.items.size() == 2 && at(arguments.items[0]).kind == Kind::text &&
                            at(arguments.items[1]).kind == Kind::text && at(arguments.items[1]).text == "latin1";
        if (!latin1) refuse("_codecs.encode: expected a text and 'latin1', found other values");
        const auto points = decode_utf8(at(arguments.items[0]).text);
        std::string bytes;
        if (!points) refuse("_codecs.encode: expected UTF-8, found other bytes");
        for (const char32_t point : *points) {
          if (point > 0xff) refuse("_codecs.encode: expected Latin-1, found U+{:04X}", static_cast<uint32_t>(point));
          bytes += static_cast<char>(point);
        }
        return push_text(Kind::bytes, keep(std::move(bytes)));
      }
      case GlobalRole::numpy_dtype:
        if (arguments.items.empty() || at(arguments.items[0]).kind != Kind::text)
          refuse("numpy.dtype: expected its code, found another value");
        return push_text(Kind::opaque, at(arguments.items[0]).text);
      case GlobalRole::numpy_scalar: return push_numpy_scalar(arguments);
      case GlobalRole::opaque: return push(Kind::opaque);
      case GlobalRole::storage:
      case GlobalRole::dtype:
      case GlobalRole::name: break;
    }
    refuse("it asks to call '{}.{}', which may only be named: refused, nothing was run (REDUCE)", callable->module,
           callable->name);
  }

  // State that is given to an object after it was made.
  void build() {
    const uint32_t state = pop(), target = top();
    switch (at(target).kind) {
      case Kind::dict: return;  // _metadata of a state dict: versions of modules
      case Kind::opaque:
        // numpy: (version, byte order, …)
        for (const uint32_t item : std::span(at(state).items).first(std::min<size_t>(at(state).items.size(), 4)))
          if (at(item).kind == Kind::text && at(item).text == ">")
            refuse("BUILD: expected little-endian numbers, found big-endian ones");
        return;
      default: refuse("BUILD: it asks to set the state of an object: refused, nothing was run");
    }
  }

  void step(uint8_t code) {
    switch (code) {
      case 0x80: {  // PROTO
        const uint64_t version = number(1);
        if (version > 5) refuse("expected a pickle protocol up to 5, found {}", version);
        return;
      }
      case 0x95: number(8); return;  // FRAME: a hint for reading ahead
      case '(': return push(Kind::mark);
      case '0':  // POP
        if (stack_.empty()) refuse("the stack holds no value for the opcode");
        stack_.pop_back();
        return;
      case '1': pop_to_mark(); return;
      case '2': return recall_top();
      case 'N': return push(Kind::none);
      case 0x88: return push(Kind::boolean, 1);
      case 0x89: return push(Kind::boolean, 0);
      case 'I': {
        const std::string_view text = line();
        if (text == "00" || text == "01") return push(Kind::boolean, text == "01");
        return push(Kind::integer, parsed<int64_t>(text));
      }
      case 'L': {
        std::string_view text = line();
        if (text.ends_with('L')) text.remove_suffix(1);
        return push(Kind::integer, parsed<int64_t>(text));
      }
      case 'J': return push(Kind::integer, static_cast<int32_t>(number(4)));
      case 'K': return push(Kind::integer, static_cast<int64_t>(number(1)));
      case 'M': return push(Kind::integer, static_cast<int64_t>(number(2)));
      case 0x8a: return push_long(take(number(1)));
      case 0x8b: return push_long(take(number(4)));
      case 'F': {
        Node node;
        node.kind = Kind::real;
        node.real = parsed<double>(line());
        return push(std::move(node));
      }
      case 'G': {
        uint64_t bits = 0;
        for (const char c : take(8)) bits = bits << 8 | static_cast<uint8_t>(c);
        Node node;
        node.kind = Kind::real;
        node.real = std::bit_cast<double>(bits);
        return push(std::move(node));
      }
      case 'S': return push_quoted(line());
      case 'T': return push_text(Kind::text, take(number(4)));
      case 'U': return push_text(Kind::text, take(number(1)));
      case 'V': {
        const std::string_view text = line();
        if (text.find('\\') != std::string_view::npos) refuse("UNICODE: escaped characters are not read");
        return push_text(Kind::text, text);
      }
      case 0x8c: return push_text(Kind::text, take(number(1)));
      case 'X': return push_text(Kind::text, take(number(4)));
      case 0x8d: return push_text(Kind::text, take(number(8)));
      case 'C': return push_text(Kind::bytes, take(number(1)));
      case 'B': return push_text(Kind::bytes, take(number(4)));
      case 0x8e: return push_text(Kind::bytes, take(number(8)));
      case ']': return push(Kind::list);
      case ')': return push(Kind::tuple);
      case '}': return push(Kind::dict);
      case 0x8f: return push(Kind::set);
      case 'l': return push_container(Kind::list, pop_to_mark());
      case 't': return push_container(Kind::tuple, pop_to_mark());
      case 0x91: return push_container(Kind::set, pop_to_mark());  // FROZENSET
      case 'd': {
        const std::vector<uint32_t> items = pop_to_mark();
        if (items.size() % 2 != 0) refuse("DICT: a key has no value");
        return push_container(Kind::dict, items);
      }
      case 0x85:
      case 0x86:
      case 0x87: {
        std::vector<uint32_t> items(code - 0x84u);
        for (size_t i = items.size(); i-- > 0;) items[i] = pop();
        return push_container(Kind::tuple, items);
      }
      case 'a': return extend(Kind::list, "APPEND", std::vector{pop()});
      case 'e': return extend(Kind::list, "APPENDS", pop_to_mark());
      case 0x90: return extend(Kind::set, "ADDITEMS", pop_to_mark());
      case 's': {
        const uint32_t value = pop(), key = pop();
        return extend(Kind::dict, "SETITEM", std::vector{key, value});
      }
      case 'u': return extend(Kind::dict, "SETITEMS", pop_to_mark());
      case 'p': return remember(parsed<uint64_t>(line()));
      case 'q': return remember(number(1));
      case 'r': return remember(number(4));
      case 0x94: return remember(memo_.size());
      case 'g': return recall(parsed<uint64_t>(line()));
      case 'h': return recall(number(1));
      case 'j': return recall(number(4));
      case 'c': {
        const std::string_view module = line(), name = line();
        return import(module, name);
      }
      case 0x93: {
        const uint32_t name = pop(), module = pop();
        if (at(name).kind != Kind::text || at(module).kind != Kind::text)
          refuse("STACK_GLOBAL: expected two texts, found other values");
        return import(at(module).text, at(name).text);
      }
      case 'R': return reduce();
      case 'b': return build();
      case 'Q': {
        const Node id = arguments_of(pop(), "BINPERSID");
        return push_storage(id);
      }
      default: break;
    }
    for (const Refused& row : kRefused)
      if (row.code == code) {
        if (code == 'i') {
          const std::string_view module = line(), name = line();
          refuse("opcode INST makes an instance of '{}.{}': refused, nothing was run", printable(module, 100),
                 printable(name, 100));
        }
        refuse("opcode {} {}: refused, nothing was run", row.name, row.what);
      }
    refuse("expected an opcode, found the byte 0x{:02x}", code);
  }

  void recall_top() {
    if (stack_.size() >= kMaxValues) refuse("expected at most {} values on the stack, found more", kMaxValues);
    push(top());
  }

  Pickle& out_;
  std::string where_;
  size_t opcode_at_ = 0, items_ = 0;
  std::vector<uint32_t> stack_;
  std::unordered_map<uint64_t, uint32_t> memo_;
};

Pickle::Pickle(std::span<const std::byte> bytes, std::string_view where) { PickleMachine(*this, bytes, where).run(); }

}  // namespace easel::io
