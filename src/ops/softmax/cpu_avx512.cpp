#include "ops/softmax/cpu.inl"
