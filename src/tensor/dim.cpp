#include "tensor/dim.h"

#include <algorithm>

#include "base/fail.h"

namespace easel {

Dim::Dim(int64_t value) {
  if (value != 0) terms_[{}] = value;
}

Dim Dim::symbol(const std::string& name) {
  Dim dim;
  dim.terms_[{name}] = 1;
  return dim;
}

void Dim::add(const Monomial& monomial, int64_t coefficient) {
  int64_t& sum = terms_[monomial];
  if (__builtin_add_overflow(sum, coefficient, &sum))
    fail(ErrorCode::invalid_argument, "size expression: overflows 64 bits");
  if (sum == 0) terms_.erase(monomial);
}

int64_t Dim::value() const {
  if (!is_constant()) fail(ErrorCode::internal, "size {}: expected a number", str());
  return terms_.empty() ? 0 : terms_.begin()->second;
}

int64_t Dim::evaluate(const Bindings& bindings) const {
  int64_t sum = 0;
  for (const auto& [monomial, coefficient] : terms_) {
    int64_t product = coefficient;
    for (const auto& name : monomial) {
      int64_t factor;
      if (const auto division = divisions_.find(name); division != divisions_.end()) {
        const int64_t numerator = division->second.numerator->evaluate(bindings), d = division->second.divisor;
        factor = numerator / d - (numerator % d < 0 ? 1 : 0);
      } else if (const auto bound = bindings.find(name); bound != bindings.end()) {
        factor = bound->second;
      } else {
        fail(ErrorCode::invalid_argument, "size {}: no value was given for '{}'", str(), name);
      }
      if (__builtin_mul_overflow(product, factor, &product))
        fail(ErrorCode::invalid_argument, "size {}: overflows 64 bits", str());
    }
    if (__builtin_add_overflow(sum, product, &sum))
      fail(ErrorCode::invalid_argument, "size {}: overflows 64 bits", str());
  }
  return sum;
}

Dim operator+(const Dim& a, const Dim& b) {
  Dim sum = a;
  sum.divisions_.insert(b.divisions_.begin(), b.divisions_.end());
  for (const auto& [monomial, coefficient] : b.terms_) sum.add(monomial, coefficient);
  return sum;
}

Dim operator-(const Dim& a, const Dim& b) { return a + b * Dim(-1); }

Dim operator*(const Dim& a, const Dim& b) {
  Dim product;
  product.divisions_ = a.divisions_;
  product.divisions_.insert(b.divisions_.begin(), b.divisions_.end());
  for (const auto& [ma, ca] : a.terms_)
    for (const auto& [mb, cb] : b.terms_) {
      Dim::Monomial monomial = ma;
      monomial.insert(monomial.end(), mb.begin(), mb.end());
      std::sort(monomial.begin(), monomial.end());
      int64_t coefficient;
      if (__builtin_mul_overflow(ca, cb, &coefficient))
        fail(ErrorCode::invalid_argument, "size expression: overflows 64 bits");
      product.add(monomial, coefficient);
    }
  return product;
}

Dim Dim::floor_div(int64_t divisor) const {
  if (divisor <= 0) fail(ErrorCode::internal, "size {}: division by {}", str(), divisor);
  if (divisor == 1) return *this;
  // Terms divisible by the divisor come out whole: ⌊(4H + 3) / 4⌋ = H + ⌊3 / 4⌋.
  Dim whole, rest;
  whole.divisions_ = rest.divisions_ = divisions_;
  for (const auto& [monomial, coefficient] : terms_) {
    int64_t quotient = coefficient / divisor, remainder = coefficient % divisor;
    if (remainder < 0) {
      remainder += divisor;
      --quotient;
    }
    // Only a constant term may be split; a coefficient is taken out when it divides.
    if (monomial.empty() || remainder == 0) {
      if (quotient) whole.add(monomial, quotient);
      if (remainder) rest.add(monomial, remainder);
    } else {
      rest.add(monomial, coefficient);
    }
  }
  if (rest.is_constant()) return whole;  // 0 ≤ rest < divisor
  Dim atom;
  const std::string name = fmt::format("(({})/{})", rest.str(), divisor);
  atom.terms_[{name}] = 1;
  atom.divisions_ = rest.divisions_;
  atom.divisions_[name] = {std::make_shared<const Dim>(rest), divisor};
  return whole + atom;
}

Dim Dim::exact_div(const Dim& divisor) const {
  if (divisor.terms_.size() != 1)
    fail(ErrorCode::shape_mismatch, "size {}: cannot be divided by {}", str(), divisor.str());
  const auto& [by, scale] = *divisor.terms_.begin();
  Dim quotient;
  quotient.divisions_ = divisions_;
  for (const auto& [monomial, coefficient] : terms_) {
    Monomial left;
    std::set_difference(monomial.begin(), monomial.end(), by.begin(), by.end(), std::back_inserter(left));
    if (coefficient % scale != 0 || left.size() + by.size() != monomial.size())
      fail(ErrorCode::shape_mismatch, "size {}: is not a multiple of {}", str(), divisor.str());
    quotient.add(left, coefficient / scale);
  }
  return quotient;
}

std::string Dim::str() const {
  if (terms_.empty()) return "0";
  std::string out;
  for (auto it = terms_.rbegin(); it != terms_.rend(); ++it) {
    const auto& [monomial, coefficient] = *it;
    if (!out.empty()) out += coefficient < 0 ? "-" : "+";
    const int64_t shown = out.empty() ? coefficient : std::abs(coefficient);
    if (monomial.empty())
      out += std::to_string(shown);
    else
      out += (shown == 1    ? ""
              : shown == -1 ? "-"
                            : std::to_string(shown) + "*") +
             fmt::format("{}", fmt::join(monomial, "*"));
  }
  return out;
}

std::string to_string(const SymShape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + shape[i].str();
  return out + "]";
}

Shape evaluate(const SymShape& shape, const Bindings& bindings) {
  Shape out;
  for (const Dim& dim : shape) {
    const int64_t size = dim.evaluate(bindings);
    if (size < 0) fail(ErrorCode::shape_mismatch, "size {} = {}: expected at least 0", dim.str(), size);
    out.push_back(size);
  }
  return out;
}

SymShape symbolic(const Shape& shape) { return {shape.begin(), shape.end()}; }

bool is_constant(const SymShape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& dim) { return dim.is_constant(); });
}

Dim numel(const SymShape& shape) {
  Dim product = 1;
  for (const Dim& dim : shape) product = product * dim;
  return product;
}

}  // namespace easel
