#include "ops/layer_norm/cpu.inl"
