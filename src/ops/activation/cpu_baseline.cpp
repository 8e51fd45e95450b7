#include "ops/activation/cpu.inl"
