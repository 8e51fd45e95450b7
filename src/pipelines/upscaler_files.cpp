#include "pipelines/upscaler_files.h"

#include <array>
#include <cmath>
#include <set>

#include "base/fail.h"
#include "pipelines/families.h"

namespace easel::pipelines {

namespace {

constexpr int kMost = 1024;  // blocks or convolutions of one network; far more than any has

bool starts(const std::string& name, const std::string& with) { return name.starts_with(with); }

/// `name` with a beginning replaced, or nothing where it begins otherwise.
std::optional<std::string> replaced(const std::string& name, const std::string& from, const std::string& to) {
  if (!starts(name, from)) return std::nullopt;
  return to + name.substr(from.size());
}

/// "body.3.rdb2.conv5.weight" → the parts between the dots.
std::vector<std::string> split(const std::string& name) {
  std::vector<std::string> out(1);
  for (const char c : name) {
    if (c == '.')
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

// Of the repository of ESRGAN: RRDB_trunk.0.RDB1.conv1, trunk_conv, upconv1, HRconv.
NameCandidates trunk_names(const std::string& prefix) {
  return [prefix](const std::string& name) -> std::vector<StoredName> {
    const std::vector<std::string> parts = split(name);
    if (parts[0] == "body" && parts.size() == 5)
      return {fmt::format("{}RRDB_trunk.{}.RDB{}.{}.{}", prefix, parts[1], parts[2].back(), parts[3], parts[4])};
    if (const auto to = replaced(name, "conv_body.", "trunk_conv.")) return {prefix + *to};
    if (const auto to = replaced(name, "conv_up", "upconv")) return {prefix + *to};
    if (const auto to = replaced(name, "conv_hr.", "HRconv.")) return {prefix + *to};
    return {prefix + name};
  };
}

enum class Naming { basicsr, trunk, sequential, compact };

struct Layout {
  Naming naming;
  const char* first;      ///< tensors that tell the naming: the first convolution …
  const char* body;       ///< … and one that only this network has
  const char* block;      ///< of an RRDBNet, block {} up to its first number
  const char* block_end;  ///< what stands behind the number
};

constexpr Layout kLayouts[] = {
    {Naming::basicsr, "conv_first.weight", "body.0.rdb1.conv1.weight", "body.", ".rdb1.conv1.weight"},
    {Naming::trunk, "conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "RRDB_trunk.", ".RDB1.conv1.weight"},
    {Naming::sequential, "0.weight", "1.sub.0.RDB1.conv1.0.weight", "1.sub.", ".RDB1.conv1.0.weight"},
    {Naming::compact, "body.0.weight", "body.1.weight", nullptr, nullptr},
};

// Training programs write the averaged weights beside the last ones; the former are better.
constexpr const char* kPrefixes[] = {"params_ema.", "params.", "model.", "state_dict.", "generator.", ""};

class Reader {
 public:
  explicit Reader(const std::string& path) : files_(io::WeightFiles::open(path)), where_(printable(path, 400)) {}

  UpscalerFiles read() {
    for (const char* prefix : kPrefixes)
      for (const Layout& layout : kLayouts) {
        if (!find(prefix + std::string(layout.first)) || !find(prefix + std::string(layout.body))) continue;
        prefix_ = prefix;
        UpscalerFiles out;
        out.prefix = prefix;
        if (layout.naming == Naming::compact)
          out.config = compact();
        else
          out.config = rrdb(layout);
        out.weights = std::make_shared<FileWeights>(files_, names(layout.naming, out.config));
        expect_all_used(out);
        return out;
      }
    expect_part(files_, Part::upscaler, where_);
    fail(ErrorCode::unsupported, "{}: expected an RRDBNet (ESRGAN, Real-ESRGAN) or a compact Real-ESRGAN, found {}",
         where_, identify(files_).evidence());
  }

 private:
  const Shape* find(const std::string& name) const {
    const io::TensorInfo* info = files_.find(name);
    return info ? &info->shape : nullptr;
  }
  bool has(const std::string& name) const { return find(prefix_ + name) != nullptr; }
  int64_t dim(const std::string& name, int axis) const {
    const Shape* shape = find(prefix_ + name);
    if (!shape || shape->rank() != 4)
      fail(ErrorCode::io, "{}: expected a tensor '{}{}' of rank 4, found {}", where_, prefix_, name,
           shape ? shape->str() : "none");
    return (*shape)[axis];
  }

  NameCandidates names(Naming naming, const UpscalerConfig& config) const {
    switch (naming) {
      case Naming::trunk: return trunk_names(prefix_);
      case Naming::sequential: return esrgan_names(std::get<models::RRDBNetConfig>(config), prefix_);
      default: return prefixed_names(prefix_);
    }
  }

  models::RRDBNetConfig rrdb(const Layout& layout) const {
    models::RRDBNetConfig config;
    config.num_block = 0;
    while (config.num_block < kMost && has(fmt::format("{}{}{}", layout.block, config.num_block, layout.block_end)))
      ++config.num_block;
    config.num_feat = dim(layout.first, 0);
    config.num_grow_ch = dim(layout.body, 0);
    config.upsamplings = 0;
    const auto upsampling = [&](int i) {
      if (layout.naming == Naming::sequential) return fmt::format("{}.weight", 3 * i);
      return fmt::format("{}{}.weight", layout.naming == Naming::trunk ? "upconv" : "conv_up", i);
    };
    while (config.upsamplings < 3 && has(upsampling(config.upsamplings + 1))) ++config.upsamplings;
    const std::string last =
        layout.naming == Naming::sequential ? fmt::format("{}.weight", 3 * config.upsamplings + 4) : "conv_last.weight";
    config.out_channels = dim(last, 0);
    const int64_t in = dim(layout.first, 1);
    config.in_channels = config.out_channels;
    config.unshuffle = 0;
    for (const int factor : {1, 2, 4})
      if (in == config.in_channels * factor * factor) config.unshuffle = factor;
    if (config.unshuffle == 0 || (int64_t{1} << config.upsamplings) % config.unshuffle != 0)
      fail(ErrorCode::unsupported,
           "{}: expected a first convolution of {} channels, or 4 or 16 times as many, found {} before {} upsamplings",
           where_, config.out_channels, in, config.upsamplings);
    expect_rgb(config.in_channels);
    return config;
  }

  models::SRVGGNetConfig compact() const {
    models::SRVGGNetConfig config;
    config.num_feat = dim("body.0.weight", 0);
    config.in_channels = dim("body.0.weight", 1);
    int last = 2;
    while (last < 2 * kMost && has(fmt::format("body.{}.weight", last + 2))) last += 2;
    config.num_conv = last / 2 - 1;
    const int64_t out = dim(fmt::format("body.{}.weight", last), 0);
    config.out_channels = config.in_channels;
    config.upscale = 0;
    for (int factor = 1; factor <= 8; ++factor)
      if (out == config.out_channels * factor * factor) config.upscale = factor;
    if (config.upscale == 0)
      fail(ErrorCode::unsupported, "{}: expected {} times a square number of channels out of 'body.{}', found {}",
           where_, config.out_channels, last, out);
    expect_rgb(config.in_channels);
    return config;
  }

  void expect_rgb(int64_t channels) const {
    if (channels != 3)
      fail(ErrorCode::unsupported, "{}: expected a network for pictures of 3 channels, found {}", where_, channels);
  }

  // A tensor that the network here does not have means that the file's is another one (ESRGAN+ and the like).
  void expect_all_used(const UpscalerFiles& out) const {
    std::set<std::string> used;
    const auto add = [&](const graph::Graph& graph) {
      for (const graph::Value& value : graph.values())
        if (value.constant)
          value.constant->each_weight([&](const std::string& name) {
            if (const auto stored = out.weights->stored(name)) used.insert(stored->name);
          });
    };
    if (const auto* rrdb = std::get_if<models::RRDBNetConfig>(&out.config)) {
      add(models::rrdb_net_body(*rrdb));
      add(models::rrdb_net_tail(*rrdb));
    } else {
      add(models::srvgg_net(std::get<models::SRVGGNetConfig>(out.config)));
    }
    for (const std::string& name : files_.names())
      if (starts(name, prefix_) && (!prefix_.empty() || name.find("params") != 0) && !used.contains(name))
        fail(ErrorCode::unsupported, "{}: expected the tensors of {} alone, found '{}' beside them", where_,
             std::holds_alternative<models::RRDBNetConfig>(out.config) ? "an RRDBNet" : "a compact Real-ESRGAN",
             printable(name));
  }

  io::WeightFiles files_;
  std::string where_, prefix_;
};

}  // namespace

NameCandidates esrgan_names(const models::RRDBNetConfig& config, const std::string& prefix) {
  // One torch Sequential: 0 is the first convolution, 1 the trunk, then upsampling, convolution and activation per
  // factor of two, and two convolutions with an activation between them.
  return [prefix, blocks = config.num_block, ups = config.upsamplings](const std::string& name) {
    const std::vector<std::string> parts = split(name);
    std::string at;
    if (parts[0] == "conv_first") at = "0";
    if (parts[0] == "conv_body") at = fmt::format("1.sub.{}", blocks);
    if (parts[0] == "conv_hr") at = std::to_string(3 * ups + 2);
    if (parts[0] == "conv_last") at = std::to_string(3 * ups + 4);
    if (starts(parts[0], "conv_up")) at = std::to_string(3 * (parts[0].back() - '0'));
    if (parts[0] == "body" && parts.size() == 5)
      at = fmt::format("1.sub.{}.RDB{}.{}.0", parts[1], parts[2].back(), parts[3]);
    return std::vector<StoredName>{prefix + at + "." + parts.back()};
  };
}

UpscalerFiles read_upscaler(const std::string& path) { return Reader(path).read(); }

}  // namespace easel::pipelines
