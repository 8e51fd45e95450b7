#include "cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/fail.h"

namespace easel::cli {

namespace {

size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

ProgressBar::ProgressBar(bool wanted) : shown_(wanted && ::isatty(STDERR_FILENO) == 1) {}

void ProgressBar::phase(const std::string& text) { draw(text); }

void ProgressBar::steps(const std::string& label, const StepProgress& progress) {
  if (!shown_) return;
  if (progress.total == 0) {  // nobody knows how many there will be
    draw(fmt::format("{}{}{} steps  {:.2f} s/step", label, label.empty() ? "" : " ", progress.done, progress.seconds));
    return;
  }
  constexpr int kCells = 24;
  const int total = std::max(progress.total, 1);
  const int filled = static_cast<int>(static_cast<int64_t>(kCells) * std::min(progress.done, total) / total);
  const double left = progress.seconds * (total - progress.done);
  draw(fmt::format("{}{}[{}{}] {}/{}  {:.2f} s/step, {:.0f} s left", label, label.empty() ? "" : " ",
                   std::string(static_cast<size_t>(filled), '#'),
                   std::string(static_cast<size_t>(kCells - filled), '.'), progress.done, total, progress.seconds,
                   left));
}

void ProgressBar::draw(const std::string& line) {
  if (!shown_) return;
  // Only ASCII is drawn, so bytes are columns.
  std::fprintf(stderr, "\r\x1b[K%s", line.substr(0, terminal_width() - 1).c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

}  // namespace easel::cli
