// tile_product.h -- a small product on one thread, for tiles that live in cache, on operands of the type that this CPU multiplies fastest: pairs of bf16
//   where there are instructions for them, float32 elsewhere. Accumulation is float32.  C[m,n] (+)= sum_k A[m,k] B[k,n]
//   A is row-major. B is packed by depth: its element (k, n) stands at (k / tile_depth) ldb tile_depth + n tile_depth + k % tile_depth, so that the
//   instruction finds the terms of one sum side by side. A row's result depends on that row alone.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/lanes.h"
#include "core/tile_gemm.h"

namespace limbeck {

#ifdef __AVX512BF16__
using TileElement = bf16;
constexpr int64_t tile_depth = 2;
#else
using TileElement = float;
constexpr int64_t tile_depth = 1;
#endif

struct ProductShape {
  int64_t m, n, k;        // m >= 0, n a multiple of 16, k a multiple of tile_depth, >= 0
  int64_t lda, ldb, ldc;  // elements between rows of A and C, columns between rows of B
  Into into = Into::overwrite;
};

void tile_product(const ProductShape&, const TileElement* a, const TileElement* b, float* c);  // no aliasing

constexpr int64_t tile_chunk = tile_depth * Lanes::width;  // terms of sums that one instruction adds

// sum += row x other over `tile_chunk` terms, spread over the lanes.
inline Lanes add_products(const bf16* row, const TileElement* other, Lanes sum) {
#ifdef __AVX512BF16__
  sum.part[0] = _mm512_dpbf16_ps(sum.part[0], (__m512bh)_mm512_loadu_si512(row), (__m512bh)_mm512_loadu_si512(other));
  return sum;
#else
  return multiply_add(load_bf16(row), load(other), sum);
#endif
}

// Stores `tile_depth` consecutive rows of sixteen values, rounded: as rows of operand A `stride` elements apart, and as their place in operand B.
inline void store_tile_rows(const Lanes (&rows)[tile_depth], TileElement* to, int64_t stride, TileElement* packed) {
#ifdef __AVX512BF16__
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(rows[1].part[0], rows[0].part[0]);
  const __m512i alternate = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(both));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + stride), _mm512_extracti64x4_epi64(both, 1));
  if (packed) _mm512_storeu_si512(packed, _mm512_permutexvar_epi16(alternate, both));
#else
  store(to + 0 * stride, rows[0]);
  if (packed) store(packed, rows[0]);
#endif
}

}  // namespace limbeck
