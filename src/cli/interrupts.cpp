#include "cli/interrupts.h"

#include <csignal>

namespace easel::cli {

namespace {

CancelToken* interrupted = nullptr;

extern "C" void on_signal(int) { interrupted->cancel(); }

}  // namespace

CancelToken cancel_on_interrupt() {
  static CancelToken token;
  interrupted = &token;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESETHAND | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  return token;
}

}  // namespace easel::cli
