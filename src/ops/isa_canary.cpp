// Compiled once per ISA with that ISA's flags. Its inline function is the kind of symbol that leaks between ISAs, and
// tools/check_symbols.py looks for it: global before the objects of an ISA are sealed, gone afterwards.
namespace easel::ops {
__attribute__((noinline)) inline int isa_leak_canary(const int* x) { return *x + 1; }
// Referring to it is what makes the compiler emit it.
__attribute__((used)) static int (*const isa_leak_canary_use)(const int*) = isa_leak_canary;
}  // namespace easel::ops
