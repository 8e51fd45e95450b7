#include "cli/profile_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "cli/statistics.h"

namespace easel::cli {

namespace {

using Json = nlohmann::ordered_json;

std::string section(const std::string& component, const std::string& entry) {
  return fmt::format("{}, entry {}", component, entry);
}

std::string milliseconds(double seconds) { return fmt::format("{:.3f}", seconds * 1e3); }
std::string percent(double share) { return fmt::format("{:.1f} %", share * 100); }
// "-" where an operator is counted in bytes.
std::string giga(double flops) { return flops > 0 ? fmt::format("{:.3f}", flops * 1e-9) : "-"; }
std::string rate(double flops, double seconds) {
  return flops > 0 && seconds > 0 ? fmt::format("{:.0f}", flops / seconds * 1e-9) : "-";
}

// Of UTF-8: its bytes without continuations.
size_t width(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

// Columns as wide as their widest cell; those from `first_number` on are flush right.
std::string align(const std::vector<std::vector<std::string>>& rows, size_t first_number) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows)
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
  std::string out;
  for (const auto& row : rows) {
    std::string line = " ";
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string blank(widths[c] - width(row[c]), ' ');
      line += c < first_number ? " " + row[c] + blank : "  " + blank + row[c];
    }
    out += line + "\n";
  }
  return out;
}

}  // namespace

std::vector<ProfileReport::Layer> ProfileReport::layers() const {
  std::map<std::tuple<std::string, std::string, int>, size_t> place;
  std::vector<Layer> out;
  std::vector<std::vector<double>> seconds;
  for (const Launch& launch : launches_) {
    const auto [found, added] = place.try_emplace({launch.component, launch.entry, launch.index}, out.size());
    if (added) {
      out.push_back({launch});
      seconds.emplace_back();
    }
    ++out[found->second].launches;
    seconds[found->second].push_back(launch.seconds);
  }
  std::map<std::pair<std::string, std::string>, double> totals;
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].seconds = median(seconds[i]);
    totals[{out[i].launch.component, out[i].launch.entry}] += out[i].seconds;
  }
  for (Layer& layer : out) {
    const double total = totals.at({layer.launch.component, layer.launch.entry});
    layer.share = total > 0 ? layer.seconds / total : 0;
  }
  return out;
}

std::vector<ProfileReport::ClassTime> ProfileReport::classes() const {
  std::vector<ClassTime> out;
  std::map<std::string, size_t> order;  // of the sections
  for (const Layer& layer : layers()) {
    const Launch& launch = layer.launch;
    order.try_emplace(section(launch.component, launch.entry), order.size());
    auto found = std::find_if(out.begin(), out.end(), [&](const ClassTime& time) {
      return time.component == launch.component && time.entry == launch.entry && time.op_class == launch.op_class;
    });
    if (found == out.end())
      found = out.insert(out.end(), {launch.component, launch.entry, launch.op_class, 0, 0, 0, 0, 0});
    ++found->layers;
    found->seconds += layer.seconds;
    found->flops += launch.flops;
    found->bytes += launch.bytes;
    found->share += layer.share;
  }
  std::stable_sort(out.begin(), out.end(), [&](const ClassTime& a, const ClassTime& b) {
    const size_t left = order.at(section(a.component, a.entry)), right = order.at(section(b.component, b.entry));
    return left != right ? left < right : a.seconds > b.seconds;
  });
  return out;
}

std::string ProfileReport::layer_table() const {
  std::map<std::string, std::vector<std::vector<std::string>>> tables;
  std::vector<std::string> order;
  for (const Layer& layer : layers()) {
    const Launch& l = layer.launch;
    const std::string name = section(l.component, l.entry);
    auto [table, added] = tables.try_emplace(name);
    if (added) {
      order.push_back(name);
      table->second.push_back({"layer", "operator", "kernel", "shapes", "ms", "GFLOP", "GFLOP/s", "share"});
    }
    table->second.push_back({l.layer, l.op, l.kernel, l.shapes, milliseconds(layer.seconds), giga(l.flops),
                             rate(l.flops, layer.seconds), percent(layer.share)});
  }
  std::string out;
  for (const std::string& name : order) out += fmt::format("{}\n{}\n", name, align(tables.at(name), 4));
  return out;
}

std::string ProfileReport::class_table() const {
  std::vector<std::vector<std::string>> rows = {
      {"time by class", "class", "layers", "ms", "GFLOP", "GFLOP/s", "share"}};
  std::string last;
  for (const ClassTime& time : classes()) {
    const std::string name = section(time.component, time.entry);
    rows.push_back({name == last ? "" : name, time.op_class, std::to_string(time.layers), milliseconds(time.seconds),
                    giga(time.flops), rate(time.flops, time.seconds), percent(time.share)});
    last = name;
  }
  return align(rows, 2);
}

Json ProfileReport::json() const {
  Json out = {{"classes", Json::array()}, {"layers", Json::array()}};
  for (const ClassTime& time : classes())
    out["classes"].push_back({{"component", time.component},
                              {"entry", time.entry},
                              {"class", time.op_class},
                              {"layers", time.layers},
                              {"seconds", time.seconds},
                              {"flops", time.flops},
                              {"bytes", time.bytes},
                              {"share", time.share}});
  for (const Layer& layer : layers()) {
    const Launch& l = layer.launch;
    out["layers"].push_back({{"component", l.component},
                             {"entry", l.entry},
                             {"layer", l.layer},
                             {"operator", l.op},
                             {"class", l.op_class},
                             {"kernel", l.kernel},
                             {"shapes", l.shapes},
                             {"launches", layer.launches},
                             {"seconds", layer.seconds},
                             {"flops", l.flops},
                             {"bytes", l.bytes},
                             {"share", layer.share}});
  }
  return out;
}

Json ProfileReport::chrome_trace() const {
  Json events = Json::array();
  std::map<std::string, int> threads;
  for (const Launch& launch : launches_) {
    const auto [thread, added] = threads.try_emplace(launch.component, static_cast<int>(threads.size()) + 1);
    if (added)
      events.push_back({{"name", "thread_name"},
                        {"ph", "M"},
                        {"pid", 1},
                        {"tid", thread->second},
                        {"args", {{"name", launch.component}}}});
    events.push_back({{"name", launch.layer.empty() ? launch.op : launch.layer},
                      {"cat", launch.op_class},
                      {"ph", "X"},
                      {"ts", (launch.begin - launches_.front().begin) * 1e6},
                      {"dur", launch.seconds * 1e6},
                      {"pid", 1},
                      {"tid", thread->second},
                      {"args",
                       {{"operator", launch.op},
                        {"kernel", launch.kernel},
                        {"shapes", launch.shapes},
                        {"entry", launch.entry},
                        {"GFLOP", launch.flops * 1e-9}}}});
  }
  return {{"traceEvents", events}, {"displayTimeUnit", "ms"}};
}

}  // namespace easel::cli
