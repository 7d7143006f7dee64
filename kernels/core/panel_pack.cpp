#include "core/panel_pack.h"

#ifdef __AVX512BF16__

#include <immintrin.h>
#include <algorithm>

namespace limbeck {

namespace {

constexpr int64_t pairs_a_vector = 16;
constexpr int64_t values_a_vector = 2 * pairs_a_vector;
static_assert(values_a_vector == values_a_square);

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

// The first `count` values, zero beyond them. Whole vectors are loaded without a mask: masked loads are slow on some CPUs.
inline __m512i load_values(const bf16* from, int64_t count) {
  if (count >= values_a_vector) return _mm512_loadu_si512(from);
  return _mm512_maskz_loadu_epi16((1u << count) - 1u, from);
}

// The first `values` values of `columns` stored columns of B, at most 32 and 16: row p holds the pair 2p, 2p + 1 of every column. Zero beyond them.
inline PairSquare load_square(const bf16* from, int64_t leading, int64_t columns, int64_t values) {
  PairSquare square;
  for (int64_t i = 0; i < vector_columns; ++i) square.row[i] = i < columns ? load_values(from + i * leading, values) : _mm512_setzero_si512();
  transpose(square);
  return square;
}

inline __m256i load_columns(const bf16* from, int64_t count) {
  if (count >= vector_columns) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1u), from);
}

// Sixteen columns of one pair of rows, side by side; the second row may be absent.
inline __m512i join_rows(const bf16* even, const bf16* odd, int64_t columns) {
  const __m256i first = load_columns(even, columns);
  const __m256i second = odd ? load_columns(odd, columns) : _mm256_setzero_si256();
  const __m512i turns = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(turns, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
}

}  // namespace

void pack_panel_from_columns(const StoredColumns& b, int64_t k, bf16* panel, Ahead ahead) {
  const int64_t vectors = panel_vectors(b.columns);
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t present = std::min(vector_columns, b.columns - v * vector_columns);
    for (int64_t begin = 0; begin < k; begin += values_a_vector) {
      for (int64_t i = 0; i < ahead.lines_a_square; ++i, ahead.next += line_bytes) _mm_prefetch(ahead.next, _MM_HINT_T1);
      const PairSquare square = load_square(b.data + v * vector_columns * b.leading + begin, b.leading, present, k - begin);
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
      _mm512_store_si512(panel, join_rows(even + column, odd ? odd + column : nullptr, columns - column));
      panel += values_a_vector;
    }
  }
}

void straighten(const bf16* a, int64_t leading, int64_t k, int64_t rows, bf16* out, int64_t out_leading) {
  for (int64_t begin = 0; begin < k; begin += values_a_vector) {  // outermost, so that the lines of thirty-two rows are read while they are near
    for (int64_t first = 0; first < rows; first += vector_columns) {
      PairSquare square;
      for (int64_t p = 0; p < pairs_a_vector; ++p) {
        const int64_t row = begin + 2 * p;
        const bf16* even = a + row * leading + first;
        square.row[p] = row < k ? join_rows(even, row + 1 < k ? even + leading : nullptr, rows - first) : _mm512_setzero_si512();
      }
      transpose(square);
      for (int64_t i = 0; i < vector_columns; ++i) _mm512_storeu_si512(out + (first + i) * out_leading + begin, square.row[i]);
    }
  }
}

}  // namespace limbeck

#endif
