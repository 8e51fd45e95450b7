#include "ops/binary/cpu.inl"
