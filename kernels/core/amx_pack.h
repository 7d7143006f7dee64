// amx_pack.h -- operands brought into the steps that amx_tile.h reads, on one thread. `k` values are packed, rounded up to whole steps with zeros.
//   Reading is what takes the time: where an Ahead is handed over, as many of its lines are fetched meanwhile as are read.
#pragma once
#include <cstdint>
#include "core/amx_tile.h"

namespace limbeck::amx {

// One block of A, `rows` of 1 to block_rows: stored with k contiguous, or as its transpose; `leading` elements between what is stored as rows.
void pack_rows(const bf16* a, int64_t leading, int64_t rows, int64_t k, bf16* block);
void pack_turned_rows(const bf16* a, int64_t leading, int64_t rows, int64_t k, bf16* block);

// One panel of B, `columns` of 1 to panel_columns: stored as its transpose (k contiguous), or as rows of columns.
void pack_columns(const bf16* b, int64_t leading, int64_t columns, int64_t k, bf16* panel, Ahead&);
void pack_rows_of_columns(const bf16* b, int64_t leading, int64_t columns, int64_t k, bf16* panel);

// One panel of two tiles of `columns`, 1 to tile_columns each, stored as pack_columns has them.
void pack_two_columns(const bf16* first, const bf16* second, int64_t leading, int64_t columns, int64_t k, bf16* panel);

}  // namespace limbeck::amx
