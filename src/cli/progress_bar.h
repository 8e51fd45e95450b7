// Steps done, on a terminal; nothing in a pipe.
#pragma once

#include <string>

#include <easel/pipeline.h>

namespace easel::cli {

class ProgressBar {
 public:
  /// Draws on standard error if that is a terminal and `wanted`.
  explicit ProgressBar(bool wanted);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// A phase without steps: "loading demo".
  void phase(const std::string& text);
  /// label: "" or "prompt 2/5".
  void steps(const std::string& label, const StepProgress& progress);
  /// Removes the line, so that other output can follow.
  void clear();

 private:
  void draw(const std::string& line);
  bool shown_, drawn_ = false;
};

}  // namespace easel::cli
