// tile_gemm.h -- a small float32 matrix product on one thread, for tiles that live in cache: C[m,n] (+)= sum_k A[m,k] B[k,n].
//   A is read one element at a time and may be strided both ways (its transpose costs nothing); B and C are row-major with n a multiple of 16.
//   Sums run over k in ascending order, so a row's result depends on that row alone.
#pragma once
#include <cstdint>

namespace limbeck {

enum class Into { overwrite, add };

struct TileShape {
  int64_t m, n, k;           // m >= 0, n a multiple of 16, k >= 0
  int64_t a_row, a_column;   // elements from A[i,k] to A[i+1,k], and to A[i,k+1]
  int64_t ldb, ldc;          // elements between rows, >= n
  Into into = Into::overwrite;
};

void tile_gemm(const TileShape&, const float* a, const float* b, float* c);  // no aliasing

}  // namespace limbeck
