#include "core/amx_pack.h"

#ifdef __AMX_BF16__

#include <algorithm>
#include "core/pair_square.h"

namespace limbeck::amx {

namespace {

static_assert(square_values == step_values && square_columns == tile_columns && square_columns == tile_rows);
constexpr int64_t half = step_elements / 2;  // a tile

inline void store_rows(const PairSquare& square, bf16* tile) {
  for (int64_t i = 0; i < square_pairs; ++i) _mm512_store_si512(tile + i * step_values, square.row[i]);
}

// Sixteen columns of `count` rows (at most 32, from `first` on), pairs of rows side by side.
inline PairSquare pairs_of_rows(const bf16* first, int64_t leading, int64_t columns, int64_t count) {
  PairSquare square;
  for (int64_t p = 0; p < square_pairs; ++p) {
    const bf16* even = first + 2 * p * leading;
    square.row[p] = 2 * p < count ? join_rows(even, 2 * p + 1 < count ? even + leading : nullptr, columns) : _mm512_setzero_si512();
  }
  return square;
}

inline PairSquare nothing() {
  PairSquare square;
  for (auto& row : square.row) row = _mm512_setzero_si512();
  return square;
}

}  // namespace

void pack_rows(const bf16* a, int64_t leading, int64_t rows, int64_t k, bf16* block) {
  for (int64_t begin = 0; begin < k; begin += step_values, block += step_elements) {
    for (int64_t i = 0; i < rows; ++i) _mm512_store_si512(block + i * step_values, load_values(a + i * leading + begin, k - begin));
    for (int64_t i = rows; i < block_rows; ++i) _mm512_store_si512(block + i * step_values, _mm512_setzero_si512());
  }
}

void pack_turned_rows(const bf16* a, int64_t leading, int64_t rows, int64_t k, bf16* block) {
  for (int64_t begin = 0; begin < k; begin += step_values, block += step_elements) {
    for (int64_t first = 0; first < block_rows; first += tile_rows) {
      PairSquare square = first < rows ? pairs_of_rows(a + begin * leading + first, leading, rows - first, k - begin) : nothing();
      transpose(square);
      store_rows(square, block + first / tile_rows * half);
    }
  }
}

void pack_columns(const bf16* b, int64_t leading, int64_t columns, int64_t k, bf16* panel, Ahead& ahead) {
  for (int64_t begin = 0; begin < k; begin += step_values, panel += step_elements) {
    for (int64_t first = 0; first < panel_columns; first += tile_columns) {
      const bf16* from = b + first * leading + begin;
      ahead.fetch(tile_columns);
      store_rows(load_square(from, leading, std::clamp<int64_t>(columns - first, 0, tile_columns), k - begin), panel + first / tile_columns * half);
    }
  }
}

void pack_two_columns(const bf16* first, const bf16* second, int64_t leading, int64_t columns, int64_t k, bf16* panel) {
  for (int64_t begin = 0; begin < k; begin += step_values, panel += step_elements) {
    store_rows(load_square(first + begin, leading, columns, k - begin), panel);
    store_rows(load_square(second + begin, leading, columns, k - begin), panel + half);
  }
}

void pack_rows_of_columns(const bf16* b, int64_t leading, int64_t columns, int64_t k, bf16* panel) {
  for (int64_t begin = 0; begin < k; begin += step_values, panel += step_elements) {
    for (int64_t first = 0; first < panel_columns; first += tile_columns) {
      const PairSquare square = first < columns ? pairs_of_rows(b + begin * leading + first, leading, columns - first, k - begin) : nothing();
      store_rows(square, panel + first / tile_columns * half);
    }
  }
}

}  // namespace limbeck::amx

#endif
