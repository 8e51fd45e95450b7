// From a graph to commands: views, kernel choice, liveness, memory plan, packed weights.
#include <algorithm>
#include <map>

#include "base/fail.h"
#include "exec/bands.h"
#include "exec/call.h"
#include "exec/memory_plan.h"
#include "exec/program.h"
#include "graph/passes/keep_blocks.h"
#include "graph/passes/narrow_activations.h"
#include "graph/passes/set_precision.h"

namespace easel::exec {

using graph::Graph;
using graph::NodeId;
using graph::ValueId;

namespace {

// A value as a window on the memory of another one (its root): what slices and reshapes become instead of copies, and
// what the parts of a concatenation are that are written where they belong in it.
struct View {
  ValueId root = graph::kNone;
  int64_t offset = 0;  // elements
  Shape strides;
};

Shape static_shape(const ValueType& type) { return evaluate(type.shape, {}); }

}  // namespace

class Compiler {
 public:
  Compiler(WeightStore& weights, const device::ContextPtr& context, const CompileOptions& options)
      : weights_(weights), options_(options), program_(std::make_shared<Program>()) {
    program_->context_ = context;
    program_->runnable_ = !options.plan_only;
  }

  ProgramPtr run(const Graph& graph) {
    program_->name_ = graph.name();
    const Graph sized = graph.specialize(options_.bindings);
    const Graph fused =
        run_passes(options_.keep_blocks ? weights_.marked(sized) : sized, options_.passes, &program_->pass_reports_);
    // After the passes: it is they that find the attention.
    Graph typed = set_precision(fused, options_.precision);
    if (options_.keep_blocks) typed = keep_blocks(typed);
    const bool rounds = options_.precision == DType::bf16 && !options_.reference_kernels;
    if (rounds && program_->context_->isa >= device::Isa::avx512_bf16) typed = narrow_activations(typed).graph;
    const graph::Bundle bundle = hoist(typed, options_.hoist);
    for (const graph::Entry& entry : bundle.entries) add_slots(entry.graph, bundle);
    for (const graph::Entry& entry : bundle.entries) add_entry(entry);
    weights_.trim();
    for (const Slot& slot : program_->slots_) program_->summary_.slot_bytes += slot.shape.numel() * size_of(slot.dtype);
    return program_;
  }

 private:
  void add_slots(const Graph& graph, const graph::Bundle& bundle) {
    const auto add = [&](const std::string& name, const ValueType& type, Slot::Role role) {
      for (const Slot& slot : program_->slots_)
        if (slot.name == name) return;
      if (std::find(bundle.persistent.begin(), bundle.persistent.end(), name) != bundle.persistent.end())
        role = Slot::Role::persistent;
      program_->slots_.push_back({name, type.dtype, static_shape(type), role});
    };
    for (const ValueId id : graph.inputs()) add(graph.value(id).name, graph.value(id).type, Slot::Role::input);
    for (const graph::Output& out : graph.outputs()) add(out.name, graph.value(out.value).type, Slot::Role::output);
  }

  void add_entry(const graph::Entry& entry) {
    graph_ = &entry.graph;
    find_views();
    EntryProgram out;
    out.rate = entry.rate;
    for (size_t n = 0; n < graph_->nodes().size(); ++n)
      if (needs_command(static_cast<NodeId>(n))) out.commands.push_back(make_command(static_cast<NodeId>(n)));
    for (const auto& [value, slot] : output_copies_) out.commands.push_back(copy_command(value, slot));
    out.commands = in_bands(std::move(out.commands), options_.bands, static_cast<int>(graph_->values().size()),
                            *program_->context_);
    plan(out);
    program_->summary_.arena_bytes = std::max(program_->summary_.arena_bytes, out.arena_bytes);
    program_->summary_.commands += out.commands.size();
    program_->entries_.push_back(std::move(out));
  }

  // ---- views -------------------------------------------------------------------------------------------------------

  View whole(ValueId id) const { return {id, 0, contiguous_strides(static_shape(graph_->value(id).type))}; }

  void find_views() {
    slot_of_.clear();
    for (const ValueId id : graph_->inputs()) slot_of_[id] = program_->slot(graph_->value(id).name);
    output_copies_.clear();
    // An output is written in place by its node; what cannot be (an input passed through, a value wanted twice) is
    // copied.
    for (const graph::Output& out : graph_->outputs()) {
      const int slot = program_->slot(out.name);
      if (graph_->value(out.value).producer == graph::kNone || slot_of_.contains(out.value))
        output_copies_.push_back({out.value, slot});
      else
        slot_of_[out.value] = slot;
    }
    std::vector<bool> copied(graph_->nodes().size());
    build_views(copied);
    // A view is taken only where it costs no reader its best kernel.
    for (const graph::Node& node : graph_->nodes()) {
      const ops::OpCall viewed = make_call(node, true), plain = make_call(node, false);
      if (is_view_op(node) || choose(viewed) == choose(plain)) continue;
      for (const ValueId input : node.inputs)
        if (!whole_or_contiguous(input)) copied[static_cast<size_t>(graph_->value(input).producer)] = true;
    }
    build_views(copied);
    place_parts();
  }

  // before: a = conv2d(x)   c = concat(x', a)   y = conv2d(c)
  // after:  the memory of c exists from the start, x' and a are written into it, and nothing is copied.
  // All parts or none: each made by a kernel that can leave room between its rows, and used by others only where they
  // take it from there with the same kernel. A concatenation may itself be such a part, so the last axis alone counts.
  void place_parts() {
    placed_.assign(graph_->nodes().size(), false);
    joined_.assign(graph_->nodes().size(), false);
    const std::vector<std::vector<NodeId>> users = graph_->users();
    // From the last to the first: what a concatenation is part of is known before its own parts are looked at.
    for (size_t n = graph_->nodes().size(); n-- > 0;) {
      const graph::Node& node = graph_->nodes()[n];
      const auto* concat = std::get_if<ops::ConcatAttrs>(&node.attrs);
      if (!concat || slot_of_.contains(node.output)) continue;
      const Shape shape = static_shape(graph_->value(node.output).type);
      if (ops::normalize_axis("concat", concat->axis, static_cast<size_t>(shape.rank())) != shape.rank() - 1) continue;
      const std::vector<View> before = views_;
      const View whole = views_[static_cast<size_t>(node.output)];
      int64_t at = whole.offset;
      bool fits = true;
      for (const ValueId part : node.inputs) {
        fits = fits && can_place(part, users[static_cast<size_t>(part)]);
        if (!fits) break;
        views_[static_cast<size_t>(part)] = {whole.root, at, whole.strides};
        at += static_shape(graph_->value(part).type).back();
      }
      fits = fits && std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId part) {
               return kernels_take(part, users[static_cast<size_t>(part)], static_cast<NodeId>(n));
             });
      if (!fits) {
        views_ = before;
        continue;
      }
      joined_[n] = true;
      for (const ValueId part : node.inputs) placed_[static_cast<size_t>(graph_->value(part).producer)] = true;
    }
  }

  bool can_place(ValueId part, const std::vector<NodeId>& readers) const {
    const graph::Value& value = graph_->value(part);
    if (value.producer == graph::kNone || slot_of_.contains(part) || views_[static_cast<size_t>(part)].root != part)
      return false;
    // Views of it, and a second place, would need it dense.
    int concats = 0;
    for (const NodeId reader : readers) {
      const graph::Node& node = graph_->node(reader);
      if (is_view_op(node)) return false;
      concats += static_cast<int>(std::count(node.inputs.begin(), node.inputs.end(), part)) *
                 static_cast<int>(std::holds_alternative<ops::ConcatAttrs>(node.attrs));
    }
    return concats == 1;
  }

  // Whether the maker of a part can write it where it now is, and its readers but the concatenation read it there.
  bool kernels_take(ValueId part, const std::vector<NodeId>& readers, NodeId concat) const {
    const graph::Node& maker = graph_->node(graph_->value(part).producer);
    const auto same_kernel = [&](const graph::Node& node) {
      return choose(make_call(node, true)) == choose(make_call(node, false));
    };
    if (!std::holds_alternative<ops::ConcatAttrs>(maker.attrs)) {
      const ops::Kernel* kernel = choose(make_call(maker, true));
      if (!kernel || !kernel->strided_output || !same_kernel(maker)) return false;
    }
    return std::all_of(readers.begin(), readers.end(),
                       [&](NodeId reader) { return reader == concat || same_kernel(graph_->node(reader)); });
  }

  bool is_view_op(const graph::Node& node) const {
    return std::holds_alternative<ops::ReshapeAttrs>(node.attrs) || std::holds_alternative<ops::SliceAttrs>(node.attrs);
  }

  bool whole_or_contiguous(ValueId id) const {
    return views_[static_cast<size_t>(id)].strides == contiguous_strides(static_shape(graph_->value(id).type));
  }

  void build_views(const std::vector<bool>& copied) {
    const std::vector<std::vector<NodeId>> users = graph_->users();
    views_.assign(graph_->values().size(), {});
    for (size_t v = 0; v < views_.size(); ++v) views_[v] = whole(static_cast<ValueId>(v));
    for (size_t n = 0; n < graph_->nodes().size(); ++n) {
      const graph::Node& node = graph_->nodes()[n];
      if (!is_view_op(node) || copied[n] || slot_of_.contains(node.output)) continue;
      const View& source = views_[static_cast<size_t>(node.inputs[0])];
      if (graph_->value(source.root).constant) continue;  // constants have no place in the arena
      if (const auto* slice = std::get_if<ops::SliceAttrs>(&node.attrs)) {
        const Shape shape = static_shape(graph_->value(node.inputs[0]).type);
        const int axis = ops::normalize_axis("slice", slice->axis, static_cast<size_t>(shape.rank()));
        // A reshape needs dense memory, so a slice that one reads stays a copy.
        const auto& readers = users[static_cast<size_t>(node.output)];
        if (std::any_of(readers.begin(), readers.end(), [&](NodeId r) { return is_view_op(graph_->node(r)); }))
          continue;
        views_[static_cast<size_t>(node.output)] = {source.root, source.offset + slice->begin * source.strides[axis],
                                                    source.strides};
      } else if (whole_or_contiguous(node.inputs[0])) {
        views_[static_cast<size_t>(node.output)] = {source.root, source.offset,
                                                    contiguous_strides(static_shape(graph_->value(node.output).type))};
      }
    }
  }

  bool needs_command(NodeId id) const {
    if (joined_[static_cast<size_t>(id)]) return false;
    const ValueId output = graph_->node(id).output;
    return placed_[static_cast<size_t>(id)] || views_[static_cast<size_t>(output)].root == output;
  }

  // ---- commands ----------------------------------------------------------------------------------------------------

  ops::OpCall make_call(const graph::Node& node, bool with_views) const {
    ops::OpCall call{node.attrs, {}, {}};
    for (const ValueId input : node.inputs) {
      const graph::Value& value = graph_->value(input);
      const Shape shape = static_shape(value.type);
      call.inputs.push_back(
          {value.type.dtype, shape, with_views ? views_[static_cast<size_t>(input)].strides : contiguous_strides(shape),
           value.constant != nullptr, value.constant ? value.constant->encoding() : BlockFormat::none});
    }
    const ValueType& type = graph_->value(node.output).type;
    const Shape shape = static_shape(type);
    call.output = {type.dtype, shape,
                   with_views ? views_[static_cast<size_t>(node.output)].strides : contiguous_strides(shape), false};
    return call;
  }

  const ops::Kernel* choose(const ops::OpCall& call) const {
    if (!options_.reference_kernels) return ops::choose_kernel(call, program_->context_->isa);
    const auto kernels = ops::kernels_of(call.attrs);
    return kernels.empty() || kernels.back()->reject(call) ? nullptr : kernels.back();
  }

  Location locate(ValueId id) {
    const View& view = views_[static_cast<size_t>(id)];
    const graph::Value& root = graph_->value(view.root);
    Location out;
    out.offset = view.offset * size_of(root.type.dtype);
    if (const auto slot = slot_of_.find(view.root); slot != slot_of_.end()) {
      out.space = Location::Space::slot;
      out.index = slot->second;
    } else {
      out.index = view.root;  // arena; the plan adds the offset
    }
    return out;
  }

  Location constant(const graph::ConstantPtr& constant, const ops::PackFormat* format) {
    const std::string key = constant->key() + "|" + (format ? format->name : "");
    if (const auto found = constants_.find(key); found != constants_.end())
      return {Location::Space::constant, found->second, 0};
    const int index = static_cast<int>(program_->constants_.size());
    constants_[key] = index;
    if (options_.plan_only) {
      weights_.check(*constant);
      program_->constants_.push_back(nullptr);
    } else {
      program_->constants_.push_back(weights_.get(constant, format));
    }
    program_->summary_.parameters += constant->shape().numel();
    const int64_t bytes = weights_.bytes_of(*constant, format);
    program_->summary_.weight_bytes += bytes;
    if (constant->encoding() != BlockFormat::none) program_->summary_.block_bytes += bytes;
    program_->summary_.pack_bytes = std::max(program_->summary_.pack_bytes, weights_.working_bytes(*constant));
    return {Location::Space::constant, index, 0};
  }

  Command make_command(NodeId id) {
    const graph::Node& node = graph_->node(id);
    Command command;
    command.call = make_call(node, true);
    command.kernel = choose(command.call);
    command.scope = node.scope;
    if (!command.kernel)
      fail(ErrorCode::unsupported, "{}.{}: no kernel for {} fits ({})", program_->name_, node.scope,
           ops::op_name(node.attrs), rejections(command.call, program_->context_->isa));
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const graph::Value& value = graph_->value(node.inputs[i]);
      if (value.constant) {
        const auto* format =
            command.kernel->format ? command.kernel->format(command.call, static_cast<int>(i)) : nullptr;
        command.inputs.push_back(constant(value.constant, format));
      } else {
        command.inputs.push_back(locate(node.inputs[i]));
      }
    }
    command.output = locate(node.output);
    const int threads = program_->context_->pool->threads();
    command.scratch_bytes = command.kernel->scratch_bytes ? command.kernel->scratch_bytes(command.call, threads) : 0;
    return command;
  }

  Command copy_command(ValueId from, int slot) {
    const ValueType& type = graph_->value(from).type;
    const Shape shape = static_shape(type);
    Command command;
    command.call = {ops::ReshapeAttrs{symbolic(shape)},
                    {{type.dtype, shape, contiguous_strides(shape), false}},
                    {type.dtype, shape, contiguous_strides(shape), false}};
    command.kernel = choose(command.call);
    command.inputs = {graph_->value(from).constant ? constant(graph_->value(from).constant, nullptr) : locate(from)};
    command.output = {Location::Space::slot, slot, 0};
    command.scope = "output";
    return command;
  }

  // ---- memory ------------------------------------------------------------------------------------------------------

  // Bytes from the first element to the end of the last one.
  static int64_t reach(const ops::ArgType& type) {
    if (type.shape.numel() == 0) return 0;
    int64_t last = 0;
    for (int axis = 0; axis < type.shape.rank(); ++axis) last += (type.shape[axis] - 1) * type.strides[axis];
    return (last + 1) * size_of(type.dtype);
  }

  // A piece of arena memory: a value, possibly made by several commands (in bands), and who touches it.
  struct Root {
    int64_t bytes = 0;
    std::vector<size_t> writers, readers;  // commands, in their order; a reader may stand there twice
  };

  // In-place reuse, lifetimes, offsets. Until here an arena location's index is the root value's id.
  void plan(EntryProgram& entry) {
    const std::vector<Command>& commands = entry.commands;
    std::map<int, Root> roots;
    for (size_t c = 0; c < commands.size(); ++c) {
      for (const Location& input : commands[c].inputs)
        if (input.space == Location::Space::arena) roots[input.index].readers.push_back(c);
      if (commands[c].output.space != Location::Space::arena) continue;
      const ops::ArgType& type = commands[c].call.output;
      Root& root = roots[commands[c].output.index];
      root.writers.push_back(c);
      root.bytes = std::max(root.bytes, commands[c].output.offset + reach(type));
    }

    std::vector<Lifetime> buffers;
    std::map<int, size_t> buffer_of;  // root value → buffer
    std::vector<size_t> scratch(commands.size());
    for (size_t c = 0; c < commands.size(); ++c) {
      const Location& output = commands[c].output;
      if (output.space == Location::Space::arena && !buffer_of.contains(output.index)) {
        const Root& root = roots.at(output.index);
        const size_t last =
            root.readers.empty() ? root.writers.back() : std::max(root.writers.back(), root.readers.back());
        if (const int reused = in_place_root(commands, roots, output.index); reused >= 0) {
          buffer_of[output.index] = buffer_of.at(reused);
          buffers[buffer_of.at(reused)].last = static_cast<int>(last);
        } else {
          buffer_of[output.index] = buffers.size();
          buffers.push_back({root.bytes, static_cast<int>(c), static_cast<int>(last)});
        }
      }
      scratch[c] = buffers.size();
      if (commands[c].scratch_bytes > 0)
        buffers.push_back({commands[c].scratch_bytes, static_cast<int>(c), static_cast<int>(c)});
    }
    const MemoryPlan plan = plan_memory(buffers);
    for (size_t c = 0; c < entry.commands.size(); ++c) {
      Command& command = entry.commands[c];
      if (command.scratch_bytes > 0) command.scratch_offset = plan.offsets[scratch[c]];
      for (Location& input : command.inputs)
        if (input.space == Location::Space::arena) input.offset += plan.offsets[buffer_of.at(input.index)];
      if (command.output.space == Location::Space::arena)
        command.output.offset += plan.offsets[buffer_of.at(command.output.index)];
    }
    entry.arena_bytes = plan.bytes;
  }

  // The value whose memory `made` can take over, or -1: each command that writes `made` reads the same place of it, in
  // a way its kernel allows, and nobody reads it once the first of them has run.
  static int in_place_root(const std::vector<Command>& commands, const std::map<int, Root>& roots, int made) {
    const std::vector<size_t>& writers = roots.at(made).writers;
    const Command& first = commands[writers.front()];
    for (const Location& candidate : first.inputs) {
      if (candidate.space != Location::Space::arena || candidate.index == made) continue;
      const Root& old = roots.at(candidate.index);
      // Readers from the first writer on are the writers themselves, each reading it once.
      const auto late = std::lower_bound(old.readers.begin(), old.readers.end(), writers.front());
      if (old.bytes != roots.at(made).bytes || old.writers.empty() || old.writers.back() >= writers.front()) continue;
      if (!std::equal(late, old.readers.end(), writers.begin(), writers.end())) continue;
      if (std::all_of(writers.begin(), writers.end(),
                      [&](size_t writer) { return reads_what_it_writes(commands[writer], candidate.index); }))
        return candidate.index;
    }
    return -1;
  }

  static bool reads_what_it_writes(const Command& command, int root) {
    for (size_t i = 0; i < command.inputs.size(); ++i) {
      const Location& input = command.inputs[i];
      if (input.space != Location::Space::arena || input.index != root) continue;
      const ops::ArgType &from = command.call.inputs[i], &to = command.call.output;
      return (command.kernel->in_place >> i & 1u) && input.offset == command.output.offset && from.dtype == to.dtype &&
             from.shape == to.shape && from.contiguous() && to.contiguous();
    }
    return false;
  }

  WeightStore& weights_;
  const CompileOptions& options_;
  std::shared_ptr<Program> program_;
  const Graph* graph_ = nullptr;
  std::vector<View> views_;
  std::vector<bool> placed_, joined_;  // nodes that write into a concatenation; concatenations that need no command
  std::map<ValueId, int> slot_of_;
  std::vector<std::pair<ValueId, int>> output_copies_;
  std::map<std::string, int> constants_;
};

ProgramPtr compile(const Graph& graph, WeightStore& weights, const device::ContextPtr& context,
                   const CompileOptions& options) {
  return Compiler(weights, context, options).run(graph);
}

}  // namespace easel::exec
