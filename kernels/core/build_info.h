// build_info.h -- what the bits of a result depend on beside its inputs; checkpoints record it.
#pragma once
#include <string>

namespace limbeck {

std::string build_info();  // "threads=2 library=avx512 isa=avx512_bf16 compiler=12.2.0"

// Whether the CPU can multiply tiles of bf16 (AMX), and DNNL_MAX_CPU_ISA allows it.
bool has_tile_products();

}  // namespace limbeck
