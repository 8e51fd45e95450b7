// Symbolic sizes: what a graph's shapes are made of until a program is compiled.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <easel/dtype.h>
#include <easel/shape.h>

namespace easel {

/// Values of the named symbols: {"height": 64, …}.
using Bindings = std::map<std::string, int64_t>;

/// An integer polynomial over symbols and floor divisions, in canonical form:
/// two Dims are equal exactly when their printed forms are. Sizes are ≥ 0 once bound.
class Dim {
 public:
  Dim(int64_t value = 0);  // NOLINT(google-explicit-constructor): numbers are sizes
  static Dim symbol(const std::string& name);

  bool is_constant() const { return terms_.empty() || (terms_.size() == 1 && terms_.begin()->first.empty()); }
  /// Throws internal if a symbol is left.
  int64_t value() const;
  /// Throws invalid_argument if a symbol has no value, or on overflow.
  int64_t evaluate(const Bindings& bindings) const;

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  /// ⌊a / divisor⌋, divisor > 0; exact divisions are carried out.
  Dim floor_div(int64_t divisor) const;
  Dim ceil_div(int64_t divisor) const { return (*this + (divisor - 1)).floor_div(divisor); }
  /// a / b where it is a plain quotient of polynomials with one term in b; throws shape_mismatch otherwise.
  Dim exact_div(const Dim& divisor) const;

  bool operator==(const Dim& other) const { return terms_ == other.terms_; }
  std::string str() const;

 private:
  struct Atom {  // a symbol, or floor(numerator / divisor)
    std::shared_ptr<const Dim> numerator;
    int64_t divisor = 0;
  };
  using Monomial = std::vector<std::string>;  // sorted atom names; empty: the constant term
  void add(const Monomial& monomial, int64_t coefficient);

  std::map<Monomial, int64_t> terms_;
  std::map<std::string, Atom> divisions_;  // what the atoms that are no symbols stand for
};

using SymShape = std::vector<Dim>;

/// "[B, 4, 2*H]"
std::string to_string(const SymShape& shape);
/// All symbols replaced by their values.
Shape evaluate(const SymShape& shape, const Bindings& bindings);
SymShape symbolic(const Shape& shape);
bool is_constant(const SymShape& shape);
Dim numel(const SymShape& shape);

/// The type of a value in a graph.
struct ValueType {
  DType dtype = DType::f32;
  SymShape shape;
  bool operator==(const ValueType&) const = default;
};

}  // namespace easel
