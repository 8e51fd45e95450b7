#include "ops/isa.h"
// After the macros that the body needs.
#include "ops/attention/cpu.inl"
