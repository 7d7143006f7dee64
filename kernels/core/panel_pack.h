// panel_pack.h -- operands brought into the order that panel_tile.h reads, on one thread.
#pragma once
#include <cstdint>
#include "core/panel_tile.h"

namespace limbeck {

constexpr int64_t line_bytes = 64;
constexpr int64_t values_a_square = 32;  // panels are packed by squares of 16 columns and 32 values, 1 KiB
constexpr int64_t lines_a_square = 16;

// Memory to fetch while packing, so many lines a square; 0 fetches none.
struct Ahead {
  const char* next;
  int64_t lines_a_square;
};

// Write one panel of B: panel_pairs(k) x panel_vectors(columns) x 32 elements.
//   from_columns reads columns as they are stored; from_rows reads B stored [k, columns], `leading` elements between rows.
void pack_panel_from_columns(const StoredColumns& b, int64_t k, bf16* panel, Ahead ahead = {nullptr, 0});
void pack_panel_from_rows(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel);

// Writes the transpose of a stored [k, rows]: row i of `out` holds its k values, `out_leading` elements after row i - 1. k rounded up to 32 and rows rounded
// up to 16 must fit; what is written beyond the matrix is zero.
void straighten(const bf16* a, int64_t leading, int64_t k, int64_t rows, bf16* out, int64_t out_leading);

}  // namespace limbeck
