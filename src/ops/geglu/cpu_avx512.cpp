#include "ops/geglu/cpu.inl"
