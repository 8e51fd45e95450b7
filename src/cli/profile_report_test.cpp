#include "cli/profile_report.h"

#include <gtest/gtest.h>

#include "cli/statistics.h"

namespace easel::cli {
namespace {

Launch launch(const char* component, const char* entry, int index, const char* op_class, double begin, double seconds,
              double flops) {
  Launch out;
  out.component = component;
  out.entry = entry;
  out.index = index;
  out.layer = std::string(op_class) + "." + std::to_string(index);
  out.op_class = op_class;
  out.op = "op";
  out.kernel = "row";
  out.shapes = "f32 [1] -> [1]";
  out.flops = flops;
  out.bytes = 8;
  out.begin = begin;
  out.seconds = seconds;
  return out;
}

// Two steps of a denoiser with two convolutions around a norm, and a decoder of one layer.
ProfileReport example() {
  ProfileReport report;
  for (int step = 0; step < 3; ++step) {
    const double begin = 100 + 10 * step, slow = step == 2 ? 5 : 0;  // the median does not see the last step
    report.add(launch("unet", "step", 0, "conv 3x3", begin, 3 + slow, 12e9));
    report.add(launch("unet", "step", 1, "norm", begin + 3, 1, 0));
    report.add(launch("unet", "step", 2, "conv 3x3", begin + 4, 4, 28e9));
  }
  report.add(launch("vae", "step", 0, "norm", 140, 2, 0));
  return report;
}

TEST(Statistics, BestAndMedian) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 100}), 3);
  EXPECT_EQ(best({3, 1, 2}), 1);
  EXPECT_EQ(best({}), 0);
}

TEST(ProfileReport, LayersAreMediansOfTheirLaunches) {
  const auto layers = example().layers();
  ASSERT_EQ(layers.size(), 4u);
  EXPECT_EQ(layers[0].launches, 3);
  EXPECT_EQ(layers[0].seconds, 3);
  EXPECT_EQ(layers[0].share, 3.0 / 8);
  EXPECT_EQ(layers[2].launch.layer, "conv 3x3.2");
  EXPECT_EQ(layers[3].launches, 1);
  EXPECT_EQ(layers[3].share, 1);  // of its own component
}

TEST(ProfileReport, ClassesSumTheirLayers) {
  const auto classes = example().classes();
  ASSERT_EQ(classes.size(), 3u);
  EXPECT_EQ(classes[0].op_class, "conv 3x3");
  EXPECT_EQ(classes[0].layers, 2);
  EXPECT_EQ(classes[0].seconds, 7);
  EXPECT_EQ(classes[0].flops, 40e9);
  EXPECT_EQ(classes[0].share, 7.0 / 8);
  EXPECT_EQ(classes[1].op_class, "norm");
  EXPECT_EQ(classes[1].bytes, 8);
  EXPECT_EQ(classes[2].component, "vae");
}

TEST(ProfileReport, TablesNameRowsAndRates) {
  const std::string layers = example().layer_table(), classes = example().class_table();
  EXPECT_NE(layers.find("unet, entry step\n"), std::string::npos) << layers;
  EXPECT_NE(layers.find("3000.000  12.000        4  37.5 %"), std::string::npos) << layers;
  EXPECT_NE(classes.find("7000.000  40.000        6   87.5 %"), std::string::npos) << classes;
  EXPECT_NE(classes.find("100.0 %"), std::string::npos) << classes;
}

TEST(ProfileReport, ChromeTraceCountsInMicroseconds) {
  const auto trace = example().chrome_trace();
  const auto& events = trace.at("traceEvents");
  ASSERT_EQ(events.size(), 10u + 2u);  // the launches and the names of two threads
  EXPECT_EQ(events[0].at("ph"), "M");
  EXPECT_EQ(events[0].at("args").at("name"), "unet");
  EXPECT_EQ(events[1].at("ph"), "X");
  EXPECT_EQ(events[1].at("ts"), 0);
  EXPECT_EQ(events[1].at("dur"), 3e6);
  EXPECT_EQ(events[2].at("ts"), 3e6);
  EXPECT_EQ(events[2].at("tid"), events[1].at("tid"));
  EXPECT_EQ(events.back().at("ts"), 40e6);
  EXPECT_NE(events.back().at("tid"), events[1].at("tid"));
}

}  // namespace
}  // namespace easel::cli
