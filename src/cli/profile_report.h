// Sums the launches of a profiled run: a table of layers, time by class, and a trace for chrome://tracing.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <easel/profile.h>

namespace easel::cli {

class ProfileReport {
 public:
  void add(const Launch& launch) { launches_.push_back(launch); }
  bool empty() const { return launches_.empty(); }

  /// A command of a program with all its launches. Shares are of the time of its component and entry.
  struct Layer {
    Launch launch;  ///< the first one; what all have in common
    int launches = 0;
    double seconds = 0;  ///< the median launch
    double share = 0;
  };
  /// In the order of first launch.
  std::vector<Layer> layers() const;

  struct ClassTime {
    std::string component, entry, op_class;
    int layers = 0;
    double seconds = 0;  ///< sum of the median launches of its layers: of one run of the entry
    double flops = 0;
    double bytes = 0;
    double share = 0;  ///< of the component's entry
  };
  /// Grouped by component and entry, each with its slowest class first.
  std::vector<ClassTime> classes() const;

  /// Text for standard output, ends in a line break.
  std::string layer_table() const;
  std::string class_table() const;
  /// {"classes": […], "layers": […]}, seconds and plain counts.
  nlohmann::ordered_json json() const;
  /// Trace Event Format (JSON object form): one complete event ("X", microseconds) per launch, one thread per
  /// component.
  nlohmann::ordered_json chrome_trace() const;

 private:
  std::vector<Launch> launches_;
};

}  // namespace easel::cli
