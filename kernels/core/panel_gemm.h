// panel_gemm.h -- gemm.h's product by our own kernel in vectors (panel_tile.h says how an element is summed): pairs of bf16 where the CPU has AVX-512 bf16, float32 with AVX2. m, n and k are at least 1.
//   Threads and sizes of blocks decide nothing but the time: one element is the same chain of sums over k for every m and n, every thread count and both
//   layouts of either operand. Beyond 4096 values, k is cut into blocks of 4096 whose sums are added in order; so is what was in C.
#pragma once
#include "core/gemm.h"

namespace limbeck {

Status panel_gemm(const GemmShape&, const bf16* a, const bf16* b, float* c);
Status panel_gemm(const GemmShape&, const bf16* a, const bf16* b, bf16* c);

// B, [k, n] stored as its transpose, brought into panels whole: worth it where few rows of A at a time are multiplied by the same B many times. The same bits.
struct PackedColumns {
  const bf16* data;  // packed_columns_elements, 64-byte aligned
};
int64_t packed_columns_elements(int64_t n, int64_t k);
void pack_columns(const bf16* b, int64_t ldb, int64_t n, int64_t k, bf16* to);
Status panel_gemm(const GemmShape&, const bf16* a, PackedColumns b, float* c);  // a as stored
Status panel_gemm(const GemmShape&, const bf16* a, PackedColumns b, bf16* c);

}  // namespace limbeck
