#include "ops/linear/cpu.inl"
