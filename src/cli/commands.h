// The commands of the program. Each takes what stands behind its name, prints results on standard output and returns
// the exit status; failures are thrown as easel::Error.
#pragma once

#include <span>
#include <string>

namespace easel::cli {

int generate(std::span<const std::string> args);
int inspect(std::span<const std::string> args);
int bench(std::span<const std::string> args);
int devices(std::span<const std::string> args);
int convert(std::span<const std::string> args);
int upscale(std::span<const std::string> args);
int preprocess(std::span<const std::string> args);
int make_random(std::span<const std::string> args);

/// The whole program: chooses the command and turns what was thrown into a line on standard error and an exit status.
int run(std::span<const std::string> args) noexcept;

/// "easel: warning: …" on standard error.
void print_warning(const std::string& message);

}  // namespace easel::cli
