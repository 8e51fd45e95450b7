// Where constants come from, and the one packed copy of each.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <easel/tensor.h>

#include "device/context.h"
#include "device/memory.h"
#include "graph/graph.h"
#include "ops/kernel.h"

namespace easel::exec {

/// The tensors of a model by their published names: the pristine copy, usually a memory-mapped file.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// Row-major values in any floating dtype. Throws io if there is no such tensor, naming file and tensor.
  virtual Tensor load(const std::string& name) const = 0;
  /// What load() would give, without reading or decoding any values. Throws as load() does.
  struct Outline {
    DType dtype;
    Shape shape;
    BlockFormat encoding = BlockFormat::none;  ///< the blocks in which blocks() has it
  };
  virtual Outline outline(const std::string& name) const {
    const Tensor values = load(name);
    return {values.dtype(), values.shape()};
  }
  /// The blocks of a weight whose outline names an encoding, row-major: [bytes] u8. Throws as load() does.
  virtual Tensor blocks(const std::string& name) const;
  /// The values are not needed for a while: memory that holds file pages may go.
  virtual void release(const std::string& name) const {}
  /// For messages: the file or folder.
  virtual std::string description() const = 0;
};

/// Bytes a kernel reads: packed, or row-major.
struct PackedWeight {
  const void* data = nullptr;
  int64_t bytes = 0;      ///< memory of its own; 0 where it points into the file mapping
  Tensor tensor;          ///< owner of small or unpacked values
  device::Buffer buffer;  ///< owner of packed values
};
using PackedWeightPtr = std::shared_ptr<const PackedWeight>;

/// What stands for source weights: name → an expression of the weight's shape, in which the source weight itself may
/// occur. That is how adapters change a model: W ↦ W + B · A.
using Replacements = std::map<std::string, graph::ConstantPtr>;

/// Evaluates constant expressions and keeps one packed copy per (constant, format), shared by all programs of a model.
/// Thread-safe, but for replace().
class WeightStore {
 public:
  /// source nullptr: there are no values, only plans; check() then believes the graph's shapes and get() throws.
  WeightStore(std::shared_ptr<const WeightSource> source, device::ContextPtr context);

  /// Throws io or shape_mismatch if a weight below `constant` is missing or has another shape. Reads no values. Weights
  /// that come beside the model (graph/side_branches.h) may still be missing.
  void check(const graph::Constant& constant) const;
  /// The graph with every weight marked as it is stored. Throws io if one is missing.
  graph::Graph marked(const graph::Graph& graph) const;
  /// Row-major values; of blocks, their bytes as [bytes] u8. Throws as check() does. The result is `target` where that
  /// is given (dtype and shape of the constant, contiguous), else new memory or the file mapping itself.
  Tensor evaluate(const graph::Constant& constant, const Tensor& target = {}) const;
  /// format nullptr: row-major. The result stays valid as long as it is held.
  PackedWeightPtr get(const graph::ConstantPtr& constant, const ops::PackFormat* format);
  /// From now on these stand for source weights; those named before and not now are themselves again, to the bit.
  /// Copies that read a weight of which that is news are evaluated again, in place: programs that hold them go on with
  /// the new values. Weights of side branches (graph/side_branches.h) have no source: they are what is given here, and
  /// copies of those that are not given any more are left as they are. No session may run meanwhile. Returns
  /// whether programs have to be compiled anew to see them all: weights that stay in blocks are not evaluated. Throws
  /// as check() does, and shape_mismatch for an expression of another size than its weight, before anything changed; if
  /// something fails later, drop() has to follow.
  bool replace(Replacements replacements);
  /// What get() would add to memory, in bytes, without reading anything.
  int64_t bytes_of(const graph::Constant& constant, const ops::PackFormat* format) const;
  /// What packing `constant` takes at its highest besides its result: file pages and intermediate values.
  int64_t working_bytes(const graph::Constant& constant) const;
  /// Gives back working memory: no more get() for a while.
  void trim();
  /// Forgets all copies; programs that still hold some keep theirs.
  void drop();
  int64_t packed_bytes() const;

 private:
  WeightSource::Outline check_outline(const graph::Constant& weight) const;
  /// Whether replace() has yet to give the weight.
  bool awaited(const graph::Constant& weight) const;
  Tensor load(const graph::Constant& weight) const;
  Tensor stored_rows(const graph::Constant& constant) const;
  int64_t stored_bytes(const graph::Constant& weight) const;
  Tensor stored_as(const graph::Constant& weight, DType dtype, const Tensor& target) const;
  int64_t working_bytes(const graph::Constant& constant, bool has_target) const;
  void release_sources(const graph::Constant& constant) const;
  bool replaced(const graph::Constant& constant) const;
  void fill(const graph::ConstantPtr& constant, const ops::PackFormat* format, PackedWeight& weight);

  struct Packed {
    graph::ConstantPtr constant;
    const ops::PackFormat* format;
    std::shared_ptr<PackedWeight> weight;
  };
  std::shared_ptr<const WeightSource> source_;
  device::ContextPtr context_;
  mutable std::mutex mutex_;
  std::map<std::string, Packed> packed_;
  Replacements replacements_;
  // Values on their way into a packed copy: fresh pages for each weight would all have to be zeroed.
  device::Buffer scratch_;
};

}  // namespace easel::exec
