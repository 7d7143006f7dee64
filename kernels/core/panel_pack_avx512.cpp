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

void turn_rows(const bf16* a, int64_t leading, int64_t k, int64_t rows, TurnedElement* out) {
  constexpr int64_t ahead = 16;  // rows of k: their lines lie far apart, and nothing else fetches them in time
  const int64_t group = turned_elements(tile_rows, k);
  const auto row_or_null = [&](int64_t row, int64_t first) { return row < k ? a + row * leading + first : nullptr; };
  for (int64_t row = 0; row < k; row += 4) {
    for (int64_t next = row + ahead; next < std::min(row + ahead + 4, k); ++next) {
      for (int64_t first = 0; first < rows; first += line_bytes / 2) _mm_prefetch(reinterpret_cast<const char*>(a + next * leading + first), _MM_HINT_T0);
    }
    for (int64_t first = 0; first < rows; first += vector_columns) {
      const int64_t columns = rows - first;
      const __m512i low = join_rows(a + row * leading + first, row_or_null(row + 1, first), columns);
      const __m512i high = row + 2 < k ? join_rows(a + (row + 2) * leading + first, row_or_null(row + 3, first), columns) : _mm512_setzero_si512();
      bf16* to = out + first / tile_rows * group + row * tile_rows;
      _mm512_store_si512(to, _mm512_shuffle_i64x2(low, high, 0x44));
      if (columns > tile_rows) _mm512_store_si512(to + group, _mm512_shuffle_i64x2(low, high, 0xee));
    }
  }
}

}  // namespace limbeck

#endif
