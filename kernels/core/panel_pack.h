// panel_pack.h -- operands brought into the order that panel_tile.h reads, on one thread.
#pragma once
#include <cstdint>
#include "core/panel_tile.h"

namespace limbeck {

// Writes one panel of B: panel_pairs(k) x panel_vectors(columns) x 32 elements. `b` points at the panel's first value.
void pack_panel_from_columns(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel);  // B stored [columns, k]: k contiguous
void pack_panel_from_rows(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel);     // B stored [k, columns]

// Writes the transpose of a stored [k, rows]: row i of `out` holds its k values, `out_leading` elements after row i - 1. k rounded up to 32 and rows rounded
// up to 16 must fit; what is written beyond the matrix is zero.
void straighten(const bf16* a, int64_t leading, int64_t k, int64_t rows, bf16* out, int64_t out_leading);

}  // namespace limbeck
