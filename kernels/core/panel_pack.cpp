#include "core/panel_pack.h"

#ifdef __AVX512BF16__

#include <algorithm>
#include "core/pair_square.h"

namespace limbeck {

static_assert(square_values == values_a_square && square_columns == vector_columns);

void pack_panel_from_columns(const StoredColumns& b, int64_t k, bf16* panel, Ahead ahead) {
  const int64_t vectors = panel_vectors(b.columns);
  for (int64_t v = 0; v < vectors; ++v) {
    const int64_t present = std::min(vector_columns, b.columns - v * vector_columns);
    for (int64_t begin = 0; begin < k; begin += square_values) {
      for (int64_t i = 0; i < ahead.lines_a_square; ++i, ahead.next += line_bytes) _mm_prefetch(ahead.next, _MM_HINT_T1);
      const PairSquare square = load_square(b.data + v * vector_columns * b.leading + begin, b.leading, present, k - begin);
      const int64_t pairs = std::min(square_pairs, panel_pairs(k - begin));
      bf16* to = panel + (begin / 2 * vectors + v) * square_values;
      for (int64_t p = 0; p < pairs; ++p) _mm512_store_si512(to + p * vectors * square_values, square.row[p]);
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
      panel += square_values;
    }
  }
}

void straighten(const bf16* a, int64_t leading, int64_t k, int64_t rows, bf16* out, int64_t out_leading) {
  for (int64_t begin = 0; begin < k; begin += square_values) {  // outermost, so that the lines of thirty-two rows are read while they are near
    for (int64_t first = 0; first < rows; first += vector_columns) {
      PairSquare square;
      for (int64_t p = 0; p < square_pairs; ++p) {
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
