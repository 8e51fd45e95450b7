#include "ops/prelu/cpu.inl"
