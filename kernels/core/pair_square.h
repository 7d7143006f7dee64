// pair_square.h -- sixteen vectors of sixteen pairs of bf16 turned from rows into columns, and how they are loaded: what brings operands into the order
//   that products read (panel_pack.h, amx_pack.h).
#pragma once
#include <immintrin.h>
#include <cstdint>
#include "core/bf16.h"

namespace limbeck {

constexpr int64_t square_pairs = 16;
constexpr int64_t square_values = 2 * square_pairs;
constexpr int64_t square_columns = 16;

struct PairSquare {
  __m512i row[16];
};

inline void transpose(PairSquare& s) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512i low_a = _mm512_unpacklo_epi32(s.row[i], s.row[i + 1]), high_a = _mm512_unpackhi_epi32(s.row[i], s.row[i + 1]);
    const __m512i low_b = _mm512_unpacklo_epi32(s.row[i + 2], s.row[i + 3]), high_b = _mm512_unpackhi_epi32(s.row[i + 2], s.row[i + 3]);
    t[i] = _mm512_unpacklo_epi64(low_a, low_b);
    t[i + 1] = _mm512_unpackhi_epi64(low_a, low_b);
    t[i + 2] = _mm512_unpacklo_epi64(high_a, high_b);
    t[i + 3] = _mm512_unpackhi_epi64(high_a, high_b);
  }
  for (int i = 0; i < 4; ++i) {
    const __m512i even_low = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88), odd_low = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
    const __m512i even_high = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88), odd_high = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
    s.row[i] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
    s.row[i + 4] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
    s.row[i + 8] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
    s.row[i + 12] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
  }
}

// The first `count` of thirty-two values, zero beyond them. Whole vectors are loaded without a mask: masked loads are slow on some CPUs.
inline __m512i load_values(const bf16* from, int64_t count) {
  if (count >= square_values) return _mm512_loadu_si512(from);
  return _mm512_maskz_loadu_epi16((1u << count) - 1u, from);
}

// The first `values` values of `columns` stored columns, at most 32 and 16, `leading` elements between columns: row p holds the pair 2p, 2p + 1 of every
// column. Zero beyond them.
inline PairSquare load_square(const bf16* from, int64_t leading, int64_t columns, int64_t values) {
  PairSquare square;
  for (int64_t i = 0; i < square_columns; ++i) square.row[i] = i < columns ? load_values(from + i * leading, values) : _mm512_setzero_si512();
  transpose(square);
  return square;
}

inline __m256i load_columns(const bf16* from, int64_t count) {
  if (count >= square_columns) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1u), from);
}

// Up to sixteen columns (>= 1) of one pair of rows, side by side; the second row may be absent. Zero beyond them.
inline __m512i join_rows(const bf16* even, const bf16* odd, int64_t columns) {
  const __m256i first = load_columns(even, columns);
  const __m256i second = odd ? load_columns(odd, columns) : _mm256_setzero_si256();
  const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(turns, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
}

// Writes the transpose of a stored [k, rows]: row i of `out` holds its k values, `out_leading` elements after row i - 1. k rounded up to 32 and rows rounded
// up to 16 must fit; what is written beyond the matrix is zero.
inline void straighten(const bf16* a, int64_t leading, int64_t k, int64_t rows, bf16* out, int64_t out_leading) {
  for (int64_t begin = 0; begin < k; begin += square_values) {  // outermost, so that the lines of thirty-two rows are read while they are near
    for (int64_t first = 0; first < rows; first += square_columns) {
      PairSquare square;
      for (int64_t p = 0; p < square_pairs; ++p) {
        const int64_t row = begin + 2 * p;
        const bf16* even = a + row * leading + first;
        square.row[p] = row < k ? join_rows(even, row + 1 < k ? even + leading : nullptr, rows - first) : _mm512_setzero_si512();
      }
      transpose(square);
      for (int64_t i = 0; i < square_columns; ++i) _mm512_storeu_si512(out + (first + i) * out_leading + begin, square.row[i]);
    }
  }
}

}  // namespace limbeck
