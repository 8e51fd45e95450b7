#include "ops/conv2d/cpu.inl"
