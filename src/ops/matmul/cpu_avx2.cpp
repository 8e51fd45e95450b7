#include "ops/matmul/cpu.inl"
