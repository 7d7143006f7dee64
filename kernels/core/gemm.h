// gemm.h -- matrix products on row-major memory with leading dimensions, multithreaded.
//   C[m,n] (+)= sum_k A[m,k] B[k,n], with A and B given as stored or transposed. Accumulation in float32.
//   Which code multiplies depends on the CPU's instructions alone: amx_gemm.h with tile units, panel_gemm.h with vectors. A row's bits depend on that row alone,
//   not on the number of rows and on no thread count.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

enum class Layout { normal, transposed };  // transposed: the matrix is stored as its transpose

struct GemmShape {
  int64_t m, n, k;
  int64_t lda, ldb, ldc;  // elements between stored rows
  Layout a = Layout::normal;
  Layout b = Layout::normal;
  bool accumulate = false;  // add to C instead of overwriting; float32 C only
};

Status gemm(const GemmShape&, const bf16* a, const bf16* b, float* c);
Status gemm(const GemmShape&, const bf16* a, const bf16* b, bf16* c);  // rounded once at the end

// B, stored as its transpose, in the order in which products of few rows read it fastest. The same bits.
struct PackedTransposed {
  const bf16* packed;  // by pack_transposed; 64-byte aligned
};

// Elements of the packed [k, n].
int64_t packed_elements(int64_t n, int64_t k);
void pack_transposed(const bf16* stored, int64_t ldb, int64_t n, int64_t k, bf16* packed);
Status gemm(const GemmShape&, const bf16* a, const PackedTransposed& b, float* c);  // a as stored, b transposed
Status gemm(const GemmShape&, const bf16* a, const PackedTransposed& b, bf16* c);

// Products that end in the gated unit (gated.h): B's columns are n gates, then n ups, stored as their transpose. C has the bits of rounding both products to
// bf16 and gating what was rounded.
int64_t packed_gates_elements(int64_t n, int64_t k);  // 0 where this CPU, or a product so deep, does not end so: then neither of these is called
void pack_gates(const bf16* stored, int64_t ldb, int64_t n, int64_t k, bf16* packed);
Status gated_gemm(const GemmShape&, const bf16* a, const bf16* packed, bf16* c);  // a as stored; overwrites

}  // namespace limbeck
