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

// The same, by tile units where the CPU has them. How an element is summed then depends on its place, too: whole tiles and what is left are summed apart.
constexpr int64_t unit_depth = 32;  // of k: whole steps are what tile units take
void unit_product(const ProductShape&, const TileElement* a, const TileElement* b, float* c);

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

#ifdef __AVX512BF16__

// Two vectors of sixteen bf16, one behind the other, as sixteen pairs.
inline __m512i as_pairs(__m512i both) {
  const __m512i alternate = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(alternate, both);
}

#endif

// Stores `tile_depth` consecutive rows of sixteen values, rounded: as rows of operand A `stride` elements apart, and as their place in operand B.
inline void store_tile_rows(const Lanes (&rows)[tile_depth], TileElement* to, int64_t stride, TileElement* packed) {
#ifdef __AVX512BF16__
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(rows[1].part[0], rows[0].part[0]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(both));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + stride), _mm512_extracti64x4_epi64(both, 1));
  if (packed) _mm512_storeu_si512(packed, as_pairs(both));
#else
  store(to + 0 * stride, rows[0]);
  if (packed) store(packed, rows[0]);
#endif
}

#ifdef __AVX512BF16__

inline __m512 widened(__m256i narrow) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16)); }

// Two vectors one behind the other, twice: rounded, and what rounding left of them.
inline void split_row(const Lanes& low, const Lanes& high, bf16* rounded, bf16* rest) {
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high.part[0], low.part[0]);
  _mm512_storeu_si512(rounded, both);
  _mm512_storeu_si512(rest, (__m512i)_mm512_cvtne2ps_pbh(_mm512_sub_ps(high.part[0], widened(_mm512_extracti64x4_epi64(both, 1))), _mm512_sub_ps(low.part[0], widened(_mm512_castsi512_si256(both)))));
}

#endif

// Stores `tile_depth` consecutive rows of sixteen values in their place in operand B, twice: rounded, and what rounding left of them.
inline void split_tile_rows(const Lanes (&rows)[tile_depth], TileElement* packed, TileElement* rest) {
#ifdef __AVX512BF16__
  const auto joined = [](__m512 low, __m512 high) { return as_pairs((__m512i)_mm512_cvtne2ps_pbh(high, low)); };
  const __m512 low = rows[0].part[0], high = rows[1].part[0];
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
  _mm512_storeu_si512(packed, joined(low, high));
  _mm512_storeu_si512(rest, joined(_mm512_sub_ps(low, widened(_mm512_castsi512_si256(both))), _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64(both, 1)))));
#else
  store(packed, rows[0]);
  store(rest, splat(0));
#endif
}

}  // namespace limbeck
