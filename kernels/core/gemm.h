// gemm.h -- matrix products on row-major memory with leading dimensions, multithreaded; oneDNN underneath.
//   C[m,n] (+)= sum_k A[m,k] B[k,n], with A and B given as stored or transposed. Accumulation in float32. On hosts without bf16 instructions the
//   operands are widened to float32 first (oneDNN 2.6 refuses or crawls there). Same shape, same threads: same bits.
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

}  // namespace limbeck
