#include "exec/bands.h"

#include <algorithm>
#include <map>

#include "base/fail.h"
#include "exec/call.h"
#include "ops/group_norm/bands.h"

namespace easel::exec {

namespace {

using ops::ArgType;

// Bands begin at multiples of it, so that Winograd tiles and upsampled rows lie as in the whole picture.
constexpr int64_t kRowUnit = 8;

// Rows first … last-1 of a picture [1, H, W, C].
struct Rows {
  int64_t first = 0, last = 0;
  int64_t count() const { return last - first; }
};

bool is_picture(const ArgType& type) { return type.shape.rank() == 4 && type.shape[0] == 1; }

int64_t bytes_of(const ArgType& type) { return type.shape.numel() * size_of(type.dtype); }

int64_t row_bytes(const ArgType& type) { return type.shape[2] * type.shape[3] * size_of(type.dtype); }

ArgType rows_of(const ArgType& type, int64_t count) {
  ArgType out = type;
  out.shape[1] = count;
  if (type.contiguous()) out.strides = contiguous_strides(out.shape);
  return out;
}

template <typename A>
bool is(const Command& command) {
  return std::holds_alternative<A>(command.call.attrs);
}

bool is_norm(const Command& command) { return is<ops::GroupNormAttrs>(command); }

// Whether its kernel can be called in two passes; the reference cannot.
bool can_split_norm(const Command& norm) {
  ops::OpCall moments = norm.call;
  moments.inputs.resize(1);
  return !norm.kernel->reject(moments);
}

// Input pictures that run along with the output, row by row. Input 0 of a convolution has its own rows.
bool is_row_wise(const Command& command, size_t input) {
  const ArgType &in = command.call.inputs[input], &out = command.call.output;
  return !in.constant && is_picture(in) && in.shape[1] == out.shape[1] && in.shape[2] == out.shape[2];
}

// Whether the operator can make some rows of its result from some rows of its inputs.
bool can_run_in_bands(const Command& command) {
  const ArgType &out = command.call.output, &x = command.call.inputs[0];
  if (!is_picture(out) || !is_picture(x) || !out.contiguous()) return false;
  if (is_norm(command)) return can_split_norm(command);
  if (is<ops::Conv2dAttrs>(command)) return true;
  if (is<ops::UpsampleNearestAttrs>(command))
    return x.shape[1] > 0 && out.shape[1] % x.shape[1] == 0 && kRowUnit % (out.shape[1] / x.shape[1]) == 0;
  if (const auto* linear = std::get_if<ops::LinearAttrs>(&command.call.attrs); linear && linear->low_rank) return false;
  if (is<ops::ActivationAttrs>(command) || is<ops::CastAttrs>(command) || is<ops::LinearAttrs>(command))
    return is_row_wise(command, 0);
  if (is<ops::BinaryAttrs>(command)) return x.shape == out.shape && command.call.inputs[1].shape == out.shape;
  return false;
}

// Operators so cheap that their result is rather made twice than kept.
bool is_cheap(const Command& command) {
  return is_norm(command) || is<ops::UpsampleNearestAttrs>(command) || is<ops::ActivationAttrs>(command) ||
         is<ops::CastAttrs>(command);
}

class Bander {
 public:
  Bander(std::vector<Command> commands, const BandOptions& options, int first_free_id, const device::Context& context)
      : commands_(std::move(commands)), options_(options), next_id_(first_free_id), context_(context) {}

  std::vector<Command> run() {
    find_virtual();
    for (const Command& command : commands_) {
      const bool made_by_readers = is_virtual(command.output);
      const bool reads_virtual = std::any_of(command.inputs.begin(), command.inputs.end(),
                                             [&](const Location& input) { return is_virtual(input); });
      // A norm whose own result is small may still read what is made in bands.
      if (is_norm(command) && (made_by_readers || reads_virtual)) emit_coefficients(command);
      if (made_by_readers) continue;
      if (!reads_virtual) {
        out_.push_back(command);
        continue;
      }
      for (const Rows rows : bands_of(command.call.output)) {
        Location target = command.output;
        target.offset += rows.first * row_bytes(command.call.output);
        emit(command, rows, &target);
      }
    }
    return std::move(out_);
  }

 private:
  using Fetched = std::pair<Location, ArgType>;

  bool is_virtual(const Location& location) const {
    return location.space == Location::Space::arena && virtual_.contains(location.index);
  }

  void find_virtual() {
    std::map<int, std::vector<std::pair<const Command*, size_t>>> readers;
    for (const Command& command : commands_)
      for (size_t i = 0; i < command.inputs.size(); ++i)
        if (command.inputs[i].space == Location::Space::arena)
          readers[command.inputs[i].index].emplace_back(&command, i);
    for (const Command& command : commands_) {
      const ArgType& type = command.call.output;
      if (command.output.space != Location::Space::arena || !can_run_in_bands(command)) continue;
      if (bytes_of(type) <= 2 * options_.band_bytes) continue;
      const bool again = options_.recompute_elements > 0 && type.shape.numel() >= options_.recompute_elements &&
                         is<ops::Conv2dAttrs>(command) && is_virtual(command.inputs[0]);
      if (!again && !is_cheap(command)) continue;
      const auto& reads = readers[command.output.index];
      const bool fits = std::all_of(reads.begin(), reads.end(), [&](const auto& read) {
        const auto& [reader, index] = read;
        const ArgType& as = reader->call.inputs[index];
        const bool by_rows = index == 0 || is_row_wise(*reader, index);
        return can_run_in_bands(*reader) && by_rows && reader->inputs[index].offset == 0 && as.contiguous() &&
               as.shape == type.shape && as.dtype == type.dtype;
      });
      if (fits && !reads.empty()) virtual_[command.output.index] = &command;
    }
  }

  std::vector<Rows> bands_of(const ArgType& type) const {
    const int64_t height = type.shape[1];
    const int64_t most = std::max<int64_t>(1, options_.band_bytes / std::max<int64_t>(1, row_bytes(type) * kRowUnit));
    const int64_t units = (height + kRowUnit - 1) / kRowUnit, count = (units + most - 1) / most;
    std::vector<Rows> out;
    for (int64_t i = 0; i < count; ++i)
      out.push_back({units * i / count * kRowUnit, std::min(height, units * (i + 1) / count * kRowUnit)});
    return out;
  }

  Location temporary() { return {Location::Space::arena, next_id_++, 0}; }

  // Those rows of an input: a window on it, or made now.
  Fetched fetch(const Location& from, const ArgType& type, const Rows& rows) {
    if (is_virtual(from)) return emit(*virtual_.at(from.index), rows, nullptr);
    Location at = from;
    at.offset += rows.first * type.strides[1] * size_of(type.dtype);
    return {at, rows_of(type, rows.count())};
  }

  // The kernel stays that of the whole picture: what it refuses for being small, it only refuses for speed.
  void push(Command command) {
    const int threads = context_.pool->threads();
    command.scratch_bytes = command.kernel->scratch_bytes ? command.kernel->scratch_bytes(command.call, threads) : 0;
    out_.push_back(std::move(command));
  }

  // The command for those rows of its result only, and those for what it needs. target nullptr: a new temporary.
  Fetched emit(const Command& whole, Rows rows, const Location* target) {
    Command command = whole;
    int64_t skipped = 0;  // rows made above those asked for
    const auto use = [&](size_t input, const Rows& wanted) {
      std::tie(command.inputs[input], command.call.inputs[input]) =
          fetch(whole.inputs[input], whole.call.inputs[input], wanted);
    };
    const ArgType& x = whole.call.inputs[0];
    size_t first_row_wise = 0;
    if (const auto* conv = std::get_if<ops::Conv2dAttrs>(&whole.call.attrs)) {
      const int64_t kernel = whole.call.inputs[1].shape[2];
      const int64_t first = rows.first * conv->stride - conv->pad_top;
      const int64_t last = (rows.last - 1) * conv->stride - conv->pad_top + kernel;
      const Rows inside{std::max<int64_t>(0, first), std::min(x.shape[1], last)};
      auto attrs = *conv;
      attrs.pad_top = static_cast<int>(inside.first - first);
      attrs.pad_bottom = static_cast<int>(last - inside.last);
      command.call.attrs = attrs;
      use(0, inside);
      first_row_wise = 1;
    } else if (const auto* upsample = std::get_if<ops::UpsampleNearestAttrs>(&whole.call.attrs)) {
      const int64_t factor = whole.call.output.shape[1] / x.shape[1];
      const Rows source{rows.first / factor, (rows.last + factor - 1) / factor};
      skipped = rows.first - source.first * factor;
      auto attrs = *upsample;
      attrs.height = Dim(source.count() * factor);
      command.call.attrs = attrs;
      command.call.output = rows_of(whole.call.output, source.count() * factor);
      use(0, source);
      first_row_wise = 1;
    } else if (is_norm(whole)) {
      use(0, rows);
      command.inputs = {command.inputs[0], coefficients_.at(whole.output.index)};
      command.call.inputs = {command.call.inputs[0], coefficients_type(whole)};
      first_row_wise = 2;
    }
    for (size_t i = first_row_wise; i < command.inputs.size(); ++i)
      if (is_row_wise(whole, i)) use(i, rows);
    if (!is<ops::UpsampleNearestAttrs>(whole)) command.call.output = rows_of(whole.call.output, rows.count());
    command.output = target ? *target : temporary();
    Location made = command.output;
    push(std::move(command));
    made.offset += skipped * row_bytes(whole.call.output);
    return {made, rows_of(whole.call.output, rows.count())};
  }

  static ArgType coefficients_type(const Command& norm) {
    const Shape shape = {3, norm.call.output.shape.back()};
    return {DType::f32, shape, contiguous_strides(shape), false};
  }

  // Statistics of the whole picture, from all its bands where it is not in memory.
  void emit_coefficients(const Command& norm) {
    const ArgType& x = norm.call.inputs[0];
    const int64_t groups = norm.call.as<ops::GroupNormAttrs>().groups;
    const std::vector<Rows> bands = is_virtual(norm.inputs[0]) ? bands_of(x) : std::vector<Rows>{{0, x.shape[1]}};
    const auto moments_type = [&](int64_t count) {
      const Shape shape = {count, groups, 3};
      return ArgType{DType::f64, shape, contiguous_strides(shape), false};
    };
    const Location moments = temporary(), coefficients = temporary();
    for (size_t i = 0; i < bands.size(); ++i) {
      const auto [at, type] = fetch(norm.inputs[0], x, bands[i]);
      Command command = norm;
      command.call.inputs = {type};
      command.call.output = moments_type(1);
      command.inputs = {at};
      command.output = moments;
      command.output.offset = static_cast<int64_t>(i) * bytes_of(command.call.output);
      push(std::move(command));
    }
    Command command = norm;
    command.call.inputs[0] = moments_type(static_cast<int64_t>(bands.size()));
    command.call.output = coefficients_type(norm);
    command.inputs[0] = moments;
    command.output = coefficients;
    push(std::move(command));
    coefficients_[norm.output.index] = coefficients;
  }

  std::vector<Command> commands_, out_;
  const BandOptions& options_;
  int next_id_;
  const device::Context& context_;
  std::map<int, const Command*> virtual_;  // value → the command that makes any rows of it
  std::map<int, Location> coefficients_;   // of norms made in bands, by the value they make
};

}  // namespace

std::vector<Command> in_bands(std::vector<Command> commands, const BandOptions& options, int first_free_id,
                              const device::Context& context) {
  if (options.band_bytes <= 0) return commands;
  return Bander(std::move(commands), options, first_free_id, context).run();
}

}  // namespace easel::exec
