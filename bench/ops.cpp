// bench_ops: times the kernels of every operator on its benchmark shapes; kHelp below tells the rest.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "base/fail.h"
#include "device/memory.h"
#include "onednn.h"
#include "ops/cost.h"
#include "ops/harness.h"
#include "probe.h"

namespace {

using namespace easel;
using namespace easel::bench;
using namespace easel::ops;
using Json = nlohmann::ordered_json;

constexpr const char* kHelp = R"(Usage: bench_ops [TEXT] [options]
Times kernels on the shapes of diffusion models, beside the peak that a small probe reaches in the
same run (fused multiply-adds, bf16 dot products, a copy) and beside oneDNN where it was found when
this was built. Operations are those of the direct form, so Winograd rows can exceed the peak.

  TEXT             only lines whose description contains it
  --models LIST    of sd15, sdxl, flux, wan (sd15,sdxl); blocks: weights of sd15 that stay packed
  --all            also kernels that a better one would replace, but for the references
  --threads N      default: one per physical core
  --cpu            one thread's processor time instead of the clock, for busy machines
  --no-onednn      leave that column out
  --json FILE      everything measured; bench/peers/ops.py adds torch to it
)";

struct Options {
  std::string filter, json;
  std::set<std::string> models = {"sd15", "sdxl"};
  bool all = false, processor_time = false, onednn = true, help = false;
  int threads = 0;
};

Options parse(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= argc) fail(ErrorCode::invalid_argument, "{}: expected a value, found none", arg);
      return argv[++i];
    };
    if (arg == "--help" || arg == "-h") {
      out.help = true;
    } else if (arg == "--all") {
      out.all = true;
    } else if (arg == "--cpu") {
      out.processor_time = true;
    } else if (arg == "--no-onednn") {
      out.onednn = false;
    } else if (arg == "--threads") {
      const std::string text = value();
      out.threads = std::atoi(text.c_str());
      if (out.threads < 1 || out.threads > 1024)
        fail(ErrorCode::invalid_argument, "--threads: expected 1 to 1024, found \"{}\"", printable(text, 40));
    } else if (arg == "--models") {
      out.models.clear();
      std::istringstream list(value());
      for (std::string name; std::getline(list, name, ',');) {
        if (name != "sd15" && name != "sdxl" && name != "flux" && name != "wan" && name != "blocks")
          fail(ErrorCode::invalid_argument, "--models: expected sd15, sdxl, flux, wan or blocks, found \"{}\"",
               printable(name, 40));
        out.models.insert(name);
      }
    } else if (arg == "--json") {
      out.json = value();
    } else if (arg.starts_with("-")) {
      fail(ErrorCode::invalid_argument, "{}: no such option (see --help)", printable(arg, 40));
    } else {
      out.filter = arg;
    }
  }
  if (out.processor_time) out.threads = 1;
  return out;
}

// The best seconds of one kernel on one case.
double time_kernel(const testing::Case& c, const OpCall& call, const Kernel& kernel, ThreadPool& pool,
                   const Timer& timer) {
  std::vector<device::Buffer> inputs, packed;
  std::vector<const void*> pointers;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const ArgType& type = call.inputs[i];
    const std::vector<std::byte> values = testing::make_values(c, i);
    inputs.emplace_back(static_cast<int64_t>(values.size()) + 64);
    std::memcpy(inputs.back().data(), values.data(), values.size());
    pointers.push_back(inputs.back().data());
    const PackFormat* format = type.constant && kernel.format ? kernel.format(call, static_cast<int>(i)) : nullptr;
    if (!format) continue;
    packed.emplace_back(format->bytes(type));
    format->pack(type, pointers.back(), packed.back().data(), pool);
    pointers.back() = packed.back().data();
  }
  const device::Buffer output(call.output.shape.numel() * size_of(call.output.dtype) + 64);
  const device::Buffer scratch((kernel.scratch_bytes ? kernel.scratch_bytes(call, pool.threads()) : 0) + 64);
  return timer.best_seconds([&] { kernel.run({call, pointers.data(), output.data(), scratch.data(), pool}); });
}

class Table {
 public:
  Table(const Options& options, ThreadPool& pool, const Timer& timer, const Peaks& peaks, Isa isa)
      : options_(options), pool_(pool), timer_(timer), peaks_(peaks), isa_(isa) {}

  void add(const testing::Case& c, size_t op) {
    const std::string description = fmt::format("{} {}", c.model, testing::describe(c));
    if (!options_.models.contains(std::string(c.model)) || description.find(options_.filter) == std::string::npos)
      return;
    const OpCall call = testing::make_call(c);
    std::optional<double> onednn;
    bool first = true;
    for (const Kernel* kernel : kernels_of(op)) {
      if (*rejection(*kernel, call, isa_) != '\0') continue;
      if (kernel == kernels_of(op).back() && kernels_of(op).size() > 1) continue;  // references take minutes
      if (first && options_.onednn) onednn = onednn_seconds(call, pool_.threads(), timer_);
      row(c, call, *kernel, description, first, onednn);
      first = false;
      if (!options_.all) break;
    }
  }

  const Json& rows() const { return rows_; }

 private:
  void row(const testing::Case& c, const OpCall& call, const Kernel& kernel, const std::string& description,
           bool chosen, const std::optional<double>& onednn) {
    const double seconds = time_kernel(c, call, kernel, pool_, timer_);
    const double flops = flops_of(call), bytes = c.bytes > 0 ? c.bytes : bytes_of(call);
    const bool compute = flops > 0;
    // A row of a lesser instruction set is held against the same peak: what the machine could do.
    const bool bf16 = product_dtype_of(call) == DType::bf16 && peaks_.bf16_gflops > 0;
    const double peak = !compute ? peaks_.copy_gbps : bf16 ? peaks_.bf16_gflops : peaks_.f32_gflops;
    const double work = compute ? flops : bytes, rate = work / seconds * 1e-9;
    const std::string beside =
        onednn ? fmt::format("{:8.1f} ({:.2f} ×)", work / *onednn * 1e-9, *onednn / seconds) : "";
    fmt::print("{:76} {:22} {:9.3f} ms {:8.1f} {:7} {:6} {}\n", description, kernel.name, seconds * 1e3, rate,
               compute ? "GFLOP/s" : "GB/s", peak > 0 ? fmt::format("{:4.0f} %", 100 * rate / peak) : "", beside);
    std::fflush(stdout);
    Json inputs = Json::array();
    for (const ArgType& input : call.inputs)
      inputs.push_back({{"dtype", easel::to_string(input.dtype)},
                        {"shape", std::vector<int64_t>(input.shape.begin(), input.shape.end())}});
    Json out = {{"model", c.model},
                {"operator", op_name(call.attrs)},
                {"attributes", ops::to_string(call.attrs)},
                {"inputs", inputs},
                {"precision", easel::to_string(product_dtype_of(call))},
                {"kernel", kernel.name},
                {"chosen", chosen},
                {"seconds", seconds},
                {"flops", flops},
                {"bytes", bytes},
                {"share_of_peak", peak > 0 ? rate / peak : 0}};
    if (onednn) out["onednn_seconds"] = *onednn;
    rows_.push_back(std::move(out));
  }

  const Options& options_;
  ThreadPool& pool_;
  const Timer& timer_;
  Peaks peaks_;
  Isa isa_;
  Json rows_ = Json::array();
};

void run(const Options& options) {
  const Isa isa = device::usable_isa();
  ThreadPool pool(options.threads);
  const Timer timer(options.processor_time);
  const Peaks peaks = measure_peaks(pool, isa, timer);
  const std::string onednn = options.onednn ? onednn_version() : "";
  fmt::print(
      "{}, {}, {} threads; peaks: f32 {:.0f} GFLOP/s, bf16 {:.0f} GFLOP/s, copy {:.0f} GB/s (caches can do "
      "more){}\n",
      device::cpu_model_name(), device::to_string(isa), pool.threads(), peaks.f32_gflops, peaks.bf16_gflops,
      peaks.copy_gbps, onednn.empty() ? "" : "; last column: " + onednn + " (its time over ours)");
  Table table(options, pool, timer, peaks, isa);
  for (size_t op = 0; op < kOpCount; ++op)
    for (const testing::Case& c : testing::tests_of(op).benchmarks) table.add(c, op);
  if (options.json.empty()) return;
  const Json out = {
      {"device", device::cpu_model_name()},
      {"isa", device::to_string(isa)},
      {"threads", pool.threads()},
      {"onednn", onednn},
      {"peaks", {{"f32_gflops", peaks.f32_gflops}, {"bf16_gflops", peaks.bf16_gflops}, {"copy_gbps", peaks.copy_gbps}}},
      {"rows", table.rows()}};
  std::ofstream file(options.json);
  file << out.dump(1) << "\n";
  if (!file.flush()) fail(ErrorCode::io, "--json {}: cannot be written", printable(options.json, 400));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    if (options.help)
      fmt::print("{}", kHelp);
    else
      run(options);
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_ops: error: {}\n", error.what());
    return exit_status(error.code());
  }
}
