#include "ops/cast/cpu.inl"
