// amx_rows.h -- up to sixteen rows against keys and values that lie in a cache, for CPUs with tile units, on one thread: what a decoded row of attention
//   multiplies. Elements are summed as amx_tile.h says, so that a row gets here what it gets among many there.
#pragma once
#include <cstdint>
#include "core/bf16.h"

namespace limbeck::amx {

constexpr int64_t most_rows = 16;

// Sets this thread's tiles up for so many rows, 1 to most_rows, as long as it lives.
class RowSession {
 public:
  explicit RowSession(int64_t rows);
  ~RowSession();
  RowSession(const RowSession&) = delete;
  RowSession& operator=(const RowSession&) = delete;
};

// scores[row, 16] = rows[row, depth] columns; depth a multiple of 32. Columns lie as [depth / 2, 16] pairs.
struct RowScores {
  const bf16* rows;
  int64_t row_stride;  // elements, like all strides
  int64_t depth;
  int64_t score_stride;
};
void weigh_columns(const RowScores&, const bf16* columns, float* scores);

// Weights of up to 64 columns, each the sum of two bf16: [rows, 64] of either.
struct RowWeights {
  const bf16* rounded;
  const bf16* rest;
  int64_t steps;  // of 32 columns: 1 or 2
};
// out[row, width] += weights values; width a multiple of 16. Values lie in tiles: [steps, width / 16] of [16, 16] pairs of columns.
void mix_values(const RowWeights&, const bf16* values, int64_t width, float* out, int64_t out_stride);

}  // namespace limbeck::amx
