// build_info.h -- what the bits of a result depend on beside its inputs; checkpoints record it.
#pragma once
#include <string>

namespace limbeck {

std::string build_info();  // "threads=2 library=avx512 isa=avx512_core_bf16 onednn=2.6.3 compiler=12.2.0"

bool has_bf16_products();  // whether oneDNN may multiply bf16 here: the CPU can and DNNL_MAX_CPU_ISA allows it

}  // namespace limbeck
