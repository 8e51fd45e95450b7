#include "ops/group_norm/cpu.inl"
