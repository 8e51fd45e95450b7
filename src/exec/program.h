// A compiled graph: chosen kernels, packed weights and a memory plan. Immutable, shareable between threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "exec/weight_store.h"
#include "graph/passes/hoist.h"
#include "graph/passes/pass.h"

namespace easel::exec {

/// Where the bytes of an argument are.
struct Location {
  enum class Space { arena, slot, constant } space = Space::arena;
  int index = 0;       ///< of the slot or constant
  int64_t offset = 0;  ///< in bytes from the start of the arena or slot
};

/// One kernel launch.
struct Command {
  const ops::Kernel* kernel = nullptr;
  ops::OpCall call;
  std::vector<Location> inputs;
  Location output;
  int64_t scratch_offset = 0;
  int64_t scratch_bytes = 0;
  std::string scope;
};

/// An input, output or persistent value: memory of its own in every session.
struct Slot {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  enum class Role { input, output, persistent } role = Role::input;
};

struct EntryProgram {
  graph::Rate rate = graph::Rate::step;
  std::vector<Command> commands;
  int64_t arena_bytes = 0;
};

/// Work and memory of a program, known before anything runs.
struct ProgramSummary {
  int64_t parameters = 0;    ///< elements of all constants
  int64_t weight_bytes = 0;  ///< as the kernels read them
  int64_t block_bytes = 0;   ///< the part of weight_bytes that stays in the blocks of the files
  int64_t pack_bytes = 0;    ///< highest while packing one of them, besides the packed ones
  int64_t arena_bytes = 0;
  int64_t slot_bytes = 0;
  size_t commands = 0;
};

/// How large pictures are cut into bands of rows (see bands.h); 0 bytes: not at all.
struct BandOptions {
  int64_t band_bytes = 0;          ///< about the size of one band
  int64_t recompute_elements = 0;  ///< upsampling convolutions with results at least so large are recomputed; 0: none
  bool operator==(const BandOptions&) const = default;
  auto operator<=>(const BandOptions&) const = default;  // NOLINT(modernize-use-nullptr): it means the 0 inside
};

struct CompileOptions {
  Bindings bindings;             ///< values of the graph's symbols
  DType precision = DType::f32;  ///< of dense layers and attention: f32, bf16, f16
  graph::PassOptions passes;
  bool hoist = true;
  BandOptions bands;
  bool keep_blocks = true;  ///< weights that are stored in blocks stay so where kernels read them; changes no bit
  bool reference_kernels = false;  ///< the last row of every list: slow, and what the fast ones are tested against
  bool plan_only = false;          ///< no weight is read: for inspection; such a program cannot run
};

class Program {
 public:
  const std::string& name() const { return name_; }
  const std::vector<EntryProgram>& entries() const { return entries_; }
  const std::vector<Slot>& slots() const { return slots_; }
  const std::vector<PackedWeightPtr>& constants() const { return constants_; }
  const std::vector<graph::PassReport>& pass_reports() const { return pass_reports_; }
  const ProgramSummary& summary() const { return summary_; }
  const device::ContextPtr& context() const { return context_; }
  bool runnable() const { return runnable_; }
  /// Index of the slot. Throws invalid_argument if there is none of that name.
  int slot(const std::string& name) const;

 private:
  friend class Compiler;
  std::string name_;
  std::vector<EntryProgram> entries_;
  std::vector<Slot> slots_;
  std::vector<PackedWeightPtr> constants_;
  std::vector<graph::PassReport> pass_reports_;
  ProgramSummary summary_;
  device::ContextPtr context_;
  bool runnable_ = true;
};

using ProgramPtr = std::shared_ptr<const Program>;

/// Specializes, runs the passes, hoists, chooses kernels, packs weights and plans memory.
/// Throws shape_mismatch or io for weights that do not fit, unsupported where no kernel fits, out_of_memory.
ProgramPtr compile(const graph::Graph& graph, WeightStore& weights, const device::ContextPtr& context,
                   const CompileOptions& options);

}  // namespace easel::exec
