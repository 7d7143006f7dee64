#include "core/tile_gemm.h"

#include <algorithm>
#include "core/lanes.h"

namespace limbeck {

namespace {

// The accumulators of one micro-tile fill the register file: 6 x 4 of 32 registers with AVX-512, 6 x 1 pairs of 16 with AVX2.
constexpr int max_rows = 6;
constexpr int max_columns = Lanes::parts == 1 ? 4 : 1;

// Loops over rows and columns are unrolled: the compiler would turn their order round, and sums would live in memory.
template <int rows, int columns>
void micro_tile(const TileShape& shape, const float* a, const float* b, float* c) {
  Lanes sum[rows][columns];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) sum[i][j] = shape.into == Into::add ? load(c + i * shape.ldc + j * Lanes::width) : splat(0);
  }
  for (int64_t k = 0; k < shape.k; ++k) {
    Lanes b_row[columns];
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) b_row[j] = load(b + k * shape.ldb + j * Lanes::width);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const Lanes a_value = splat(a[i * shape.a_row + k * shape.a_column]);
#pragma GCC unroll 8
      for (int j = 0; j < columns; ++j) sum[i][j] = multiply_add(a_value, b_row[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) store(c + i * shape.ldc + j * Lanes::width, sum[i][j]);
  }
}

template <int rows, int columns>
void pick_rows(int64_t count, const TileShape& shape, const float* a, const float* b, float* c) {
  if constexpr (rows > 1) {
    if (count < rows) return pick_rows<rows - 1, columns>(count, shape, a, b, c);
  }
  micro_tile<rows, columns>(shape, a, b, c);
}

template <int columns>
void panel(int64_t count, const TileShape& shape, const float* a, const float* b, float* c) {
  if constexpr (columns > 1) {
    if (count < columns) return panel<columns - 1>(count, shape, a, b, c);
  }
  for (int64_t i = 0; i < shape.m; i += max_rows) {
    pick_rows<max_rows, columns>(std::min<int64_t>(max_rows, shape.m - i), shape, a + i * shape.a_row, b, c + i * shape.ldc);
  }
}

}  // namespace

void tile_gemm(const TileShape& shape, const float* a, const float* b, float* c) {
  const int64_t vectors = shape.n / Lanes::width;
  for (int64_t j = 0; j < vectors; j += max_columns) {
    panel<max_columns>(std::min<int64_t>(max_columns, vectors - j), shape, a, b + j * Lanes::width, c + j * Lanes::width);
  }
}

}  // namespace limbeck
