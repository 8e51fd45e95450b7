#include "cli/commands.h"

#include <easel/version.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "base/fail.h"
#include "cli/spelling.h"

namespace easel::cli {

namespace {

struct Command {
  const char* name;
  int (*run)(std::span<const std::string>);
  const char* summary;
};

constexpr Command kCommands[] = {
    {"generate", generate, "pictures from a prompt"},
    {"inspect", inspect, "what a model, a weight file or a picture holds, and what running it would take"},
    {"convert", convert, "a model in other names, precision or file format; merges of models"},
    {"upscale", upscale, "pictures with more pixels, by ESRGAN, Real-ESRGAN and their like"},
    {"preprocess", preprocess, "edges and lines of pictures, for control networks"},
    {"bench", bench, "how fast a model runs, phase by phase and layer by layer"},
    {"devices", devices, "what there is to run on"},
    {"make-random", make_random, "a model with random weights, for tests of size and speed"},
};

void print_help() {
  std::puts("Usage: easel COMMAND [options]\nRuns generative diffusion models.\n");
  for (const Command& command : kCommands) std::printf("  %-12s  %s\n", command.name, command.summary);
  std::puts(
      "\n  --version     the version of this program\n"
      "  --help        this text; easel COMMAND --help tells the options of a command\n\n"
      "Exit status: 0 success, 1 failed, 2 wrong use, 130 interrupted.");
}

int dispatch(std::span<const std::string> args) {
  if (args.empty()) {
    print_help();
    fail(ErrorCode::invalid_argument, "expected a command, found none");
  }
  const std::string& name = args.front();
  if (name == "--help" || name == "-h" || name == "help") return print_help(), 0;
  if (name == "--version") return std::puts("easel " EASEL_VERSION), 0;
  std::vector<std::string> names = {"--help", "--version"};
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run(args.subspan(1));
    names.emplace_back(command.name);
  }
  for (const char* later : {"quantize", "eval", "serve", "run", "onnx-run"})
    if (name == later) fail(ErrorCode::invalid_argument, "{}: not available yet in this version of easel", name);
  fail(ErrorCode::invalid_argument, "{}: no such command{} (see easel --help)", printable(name, 60),
       did_you_mean(name, names));
}

// One line whatever the message holds.
int report(const std::string& message, int status) noexcept {
  std::fputs("easel: error: ", stderr);
  for (const char c : message) std::fputc(c == '\n' || c == '\r' ? ' ' : c, stderr);
  std::fputc('\n', stderr);
  return status;
}

}  // namespace

void print_warning(const std::string& message) { std::fprintf(stderr, "easel: warning: %s\n", message.c_str()); }

int run(std::span<const std::string> args) noexcept {
  // A reader that left and a file at its size limit show as failed writes.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  int status = 1;
  try {
    status = dispatch(args);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::cancelled) {
      std::fputs("easel: cancelled\n", stderr);
      return exit_status(error.code());
    }
    return report(error.what(), exit_status(error.code()));
  } catch (const std::bad_alloc&) {
    return report("out of memory", 1);
  } catch (const std::exception& error) {
    return report(std::string("unexpected: ") + error.what(), 1);
  } catch (...) {
    return report("unexpected failure", 1);
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) return report("standard output cannot be written", 1);
  return status;
}

}  // namespace easel::cli
