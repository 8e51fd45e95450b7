// Constant expressions evaluated row by row: what W + B · A takes is a few rows, however large W is.
#pragma once

#include <functional>
#include <map>

#include <easel/tensor.h>

#include "device/context.h"
#include "graph/constant.h"
#include "ops/attrs.h"

namespace easel::exec {

/// Values of expressions over source weights, in blocks of rows that stay in the caches. A row is what one index of the
/// first axis has. All arithmetic is in f32, norms in double; work is cut by shape, so that neither threads nor blocks
/// change a bit.
class RowValues {
 public:
  /// load gives the values of a source weight, of the constant's shape and any floating dtype.
  using Load = std::function<Tensor(const graph::Constant&)>;
  RowValues(device::Context& context, Load load);

  /// All values in the dtype of `target`, f32, bf16 or f16; contiguous and of the constant's shape.
  void write(const graph::Constant& constant, const Tensor& target);
  /// Memory that write() takes at its highest besides target and source weights, about, in bytes.
  static int64_t working_bytes(const graph::Constant& constant);

 private:
  using Constant = graph::Constant;

  /// Rows begin … begin + out.dim(0) − 1, out: [n, elements of a row] f32.
  void rows(const Constant& x, int64_t begin, const Tensor& out);
  void add_rows(const Constant& x, int64_t begin, const Tensor& out);
  void matmul_rows(const Constant& x, int64_t begin, const Tensor& out, bool accumulate);
  void kron_rows(const Constant& x, int64_t begin, const Tensor& out);
  void rescale_rows(const Constant& x, int64_t begin, const Tensor& out);
  void convert_rows(const Tensor& from, int64_t begin, const Tensor& out) const;
  /// out ← out ∘ other.
  void combine(ops::BinaryKind kind, const Tensor& out, const Tensor& other) const;

  /// Values that every block needs, made once.
  const Tensor& stored(const Constant& x);
  const Tensor& whole(const Constant& x);
  const Tensor& transposed(const Constant& x);
  const Tensor& factors_by_column(const Constant& x);
  template <typename Make>
  const Tensor& once(const char* what, const Constant& x, Make&& make);

  device::Context& context_;
  Load load_;
  std::map<std::pair<std::string, const Constant*>, Tensor> made_;
};

}  // namespace easel::exec
