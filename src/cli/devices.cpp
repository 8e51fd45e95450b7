// easel devices: what there is to run on.
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "base/thread_pool.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "device/cpu/features.h"
#include "device/memory.h"

namespace easel::cli {

namespace {

constexpr const char* kHelp =
    R"(Usage: easel devices [--json]
Lists what there is to run on: processor, instruction set, threads and memory.

  --json    one JSON object on standard output

The environment variable EASEL_MAX_ISA (baseline, avx2, avx512 or avx512_bf16) lowers the
instruction set in use.
)";

}  // namespace

int devices(std::span<const std::string> args) {
  bool json = false;
  Arguments arguments("devices", kHelp);
  arguments.flag("--json", json);
  if (!arguments.parse(args)) return 0;

  const std::string cpu = device::cpu_model_name();
  const device::Isa found = device::detect_isa(), used = device::usable_isa();
  const int threads = ThreadPool(0).threads();
  const int64_t total = static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  const int64_t available = device::available_memory();
  if (json) {
    const nlohmann::ordered_json device = {{"name", "cpu"},
                                           {"model", cpu},
                                           {"isa", device::to_string(used)},
                                           {"detected_isa", device::to_string(found)},
                                           {"threads", threads},
                                           {"memory_bytes", total},
                                           {"available_memory_bytes", available}};
    const nlohmann::ordered_json out = {{"devices", {device}}};
    std::puts(out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
    return 0;
  }
  const double gib = 1024.0 * 1024 * 1024;
  const std::string lowered =
      used == found ? "" : fmt::format(" (EASEL_MAX_ISA; the processor has {})", device::to_string(found));
  std::puts(fmt::format("cpu\n  model         {}\n  instructions  {}{}\n  threads       {} by default\n"
                        "  memory        {:.1f} GiB, {:.1f} GiB available",
                        cpu, device::to_string(used), lowered, threads, static_cast<double>(total) / gib,
                        static_cast<double>(available) / gib)
                .c_str());
  return 0;
}

}  // namespace easel::cli
