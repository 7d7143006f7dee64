#include "core/panel_pack.h"

#ifdef __AVX512BF16__

#include <immintrin.h>
#include <algorithm>

namespace limbeck {

namespace {

constexpr int64_t pairs_a_vector = 16;
constexpr int64_t values_a_vector = 2 * pairs_a_vector;

// Sixteen registers of sixteen pairs; pairs move whole.
struct Square {
  __m512i row[16];
};

inline void transpose(Square& s) {
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

inline __mmask32 first_values(int64_t count) { return count >= values_a_vector ? 0xffffffffu : (1u << count) - 1u; }
inline __mmask16 first_columns(int64_t count) { return count >= vector_columns ? 0xffff : static_cast<__mmask16>((1u << count) - 1u); }

// Sixteen columns of one pair of rows, side by side; the second row may be absent.
inline __m512i join_rows(const bf16* even, const bf16* odd, __mmask16 mask) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, even));
  if (!odd) return low;
  return _mm512_or_si512(low, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, odd)), 16));
}

}  // namespace

void pack_panel_from_columns(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel) {
  const int64_t vectors = panel_vectors(columns);
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t present = std::min(vector_columns, columns - v * vector_columns);
    for (int64_t begin = 0; begin < k; begin += values_a_vector) {
      const __mmask32 mask = first_values(k - begin);
      Square square;
      for (int64_t i = 0; i < 16; ++i) {
        square.row[i] = i < present ? _mm512_maskz_loadu_epi16(mask, b + (v * vector_columns + i) * leading + begin) : _mm512_setzero_si512();
      }
      transpose(square);
      const int64_t pairs = std::min(pairs_a_vector, panel_pairs(k - begin));
      bf16* to = panel + (begin / 2 * vectors + v) * values_a_vector;
      for (int64_t p = 0; p < pairs; ++p) _mm512_store_si512(to + p * vectors * values_a_vector, square.row[p]);
    }
  }
}

void pack_panel_from_rows(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel) {
  const int64_t vectors = panel_vectors(columns);
  for (int64_t row = 0; row < k; row += 2) {
    const bf16* even = b + row * leading;
    const bf16* odd = row + 1 < k ? even + leading : nullptr;
    for (int64_t v = 0; v < vectors; ++v) {
      const int64_t column = v * vector_columns;
      _mm512_store_si512(panel, join_rows(even + column, odd ? odd + column : nullptr, first_columns(columns - column)));
      panel += values_a_vector;
    }
  }
}

void straighten(const bf16* a, int64_t leading, int64_t k, int64_t rows, bf16* out, int64_t out_leading) {
  for (int64_t first = 0; first < rows; first += vector_columns) {
    const __mmask16 mask = first_columns(rows - first);
    for (int64_t begin = 0; begin < k; begin += values_a_vector) {
      Square square;
      for (int64_t p = 0; p < pairs_a_vector; ++p) {
        const int64_t row = begin + 2 * p;
        const bf16* even = a + row * leading + first;
        square.row[p] = row < k ? join_rows(even, row + 1 < k ? even + leading : nullptr, mask) : _mm512_setzero_si512();
      }
      transpose(square);
      for (int64_t i = 0; i < vector_columns; ++i) _mm512_storeu_si512(out + (first + i) * out_leading + begin, square.row[i]);
    }
  }
}

}  // namespace limbeck

#endif
