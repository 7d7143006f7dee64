// amx_gemm.h -- gemm.h's product by our own kernel, for CPUs with tile units (amx_tile.h says how an element is summed). m, n and k are at least 1.
//   Threads and sizes of blocks decide nothing but the time: one element is the same chain of sums over k for every m and n, every thread count and both
//   layouts of either operand. Beyond 3072 values, k is cut into blocks of 3072 whose sums are added in order; so is what was in C.
#pragma once
#include "core/gemm.h"

namespace limbeck::amx {

Status product(const GemmShape&, const bf16* a, const bf16* b, float* c);
Status product(const GemmShape&, const bf16* a, const bf16* b, bf16* c);

// B, [k, n] stored as its transpose, brought into panels whole: worth it where few rows of A at a time are multiplied by the same B many times. The same bits.
struct Packed {
  const bf16* data;  // packed_elements, 64-byte aligned
};
int64_t packed_elements(int64_t n, int64_t k);
void pack_whole(const bf16* b, int64_t ldb, int64_t n, int64_t k, bf16* to);
Status product(const GemmShape&, const bf16* a, Packed b, float* c);  // a as stored
Status product(const GemmShape&, const bf16* a, Packed b, bf16* c);

// B whose columns are n gates, then n ups, k values deep, packed so that both of an element of C are summed together.
struct PackedGates {
  const bf16* data;  // packed_gates_elements, 64-byte aligned
};
int64_t packed_gates_elements(int64_t n, int64_t k);  // 0 where k is cut
void pack_gates(const bf16* b, int64_t ldb, int64_t n, int64_t k, bf16* to);
Status product(const GemmShape&, const bf16* a, PackedGates b, bf16* c);  // n gated columns; both products rounded, then gated (gated.h)

}  // namespace limbeck::amx
