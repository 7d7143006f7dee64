// panel_gemm.h -- gemm.h's product by our own kernel, for CPUs with AVX-512 bf16 (panel_tile.h says how an element is summed). m, n and k are at least 1.
//   Threads and sizes of blocks decide nothing but the time: one element is the same chain of sums over k for every m and n, every thread count and both
//   layouts of either operand. Beyond 4096 values, k is cut into blocks of 4096 whose sums are added in order; so is what was in C.
#pragma once
#include "core/gemm.h"

namespace limbeck {

Status panel_gemm(const GemmShape&, const bf16* a, const bf16* b, float* c);
Status panel_gemm(const GemmShape&, const bf16* a, const bf16* b, bf16* c);

}  // namespace limbeck
