// panel_tile.h -- the innermost step of panel_gemm.h: a few rows of A times one packed panel of B, on one thread. Where the CPU multiplies bf16, rows of A are
//   read as stored if k is contiguous, and turned into pairs if it is not; elsewhere they are always turned, and widened to float32 once for all panels.
//   A panel holds `panel_columns` columns of B over k: row p of it holds, for each column, the two values of k = 2p and 2p + 1, side by side. Columns and
//   values beyond the matrix are zero; a panel's columns come in vectors of 16, and the last panel of a matrix keeps only those it needs.
//   One element of C is one chain: float32, from zero, over k in ascending pairs; where the CPU does not multiply bf16, value by value. So a row's result
//   depends on that row alone, however the rest is cut.
#pragma once
#include <algorithm>
#include <cstdint>
#include "core/bf16.h"
#include "core/tile_gemm.h"

namespace limbeck {

constexpr int64_t vector_columns = 16;
#ifdef __AVX512BF16__
constexpr int64_t panel_columns = 48;  // three vectors: with eight rows, 24 of 32 registers accumulate
constexpr int64_t tile_rows = 8;
using TurnedElement = bf16;
constexpr int64_t turned_step = 4;  // of k
#else
constexpr int64_t panel_columns = 16;  // two registers: with six rows, 12 of 16 accumulate
constexpr int64_t tile_rows = 6;
using TurnedElement = float;
constexpr int64_t turned_step = 8;
#endif

inline int64_t panel_vectors(int64_t columns) { return (columns + vector_columns - 1) / vector_columns; }
inline int64_t panel_pairs(int64_t k) { return (k + 1) / 2; }

struct PanelRows {
  const bf16* data;
  int64_t count;    // rows, >= 1
  int64_t leading;  // elements between rows
  int64_t k;        // >= 1
  PanelRows from(int64_t row, int64_t most) const { return {data + row * leading, std::min(most, count - row), leading, k}; }
};

// Rows of A in groups of `tile_rows`. As bf16: row p of a group holds, for each of its rows, the two values of k = 2p and 2p + 1, side by side. As float32: row
// k of a group holds the value of each of its rows. Zero beyond the matrix.
inline int64_t turned_elements(int64_t rows, int64_t k) {
  return (rows + tile_rows - 1) / tile_rows * tile_rows * ((k + turned_step - 1) / turned_step * turned_step);
}
struct TurnedRows {
  const TurnedElement* data;  // 64-byte aligned
  int64_t count;
  int64_t k;
  TurnedRows from(int64_t row, int64_t most) const { return {data + turned_elements(row, k), std::min(most, count - row), k}; }  // row: a multiple of tile_rows
};

struct Panel {
  const bf16* data;     // 64-byte aligned
  int64_t columns;      // 1 to panel_columns
  int64_t ahead = 0;    // elements behind the panel that are wanted next, and fetched meanwhile
};

// Columns of B as stored, k contiguous: for so few rows of A that a panel would be written for too little use.
struct StoredColumns {
  const bf16* data;
  int64_t columns;  // >= 1
  int64_t leading;  // elements between columns
};

// C[i, j] = or += sum_k rows[i, k] columns[k, j], with `ldc` elements between rows of C; into bf16 rounded once and overwritten. Rows is PanelRows or
// TurnedRows, Columns is Panel, or StoredColumns for at most most_direct_rows PanelRows: the same bits. Without bf16 products: TurnedRows and Panel only.
constexpr int64_t most_direct_rows = 64;
template <typename Rows, typename Columns>
void panel_tiles(const Rows&, const Columns&, Into, float* c, int64_t ldc);
template <typename Rows, typename Columns>
void panel_tiles(const Rows&, const Columns&, bf16* c, int64_t ldc);

}  // namespace limbeck
