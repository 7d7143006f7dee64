#include "core/tile_product.h"

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/amx_tile.h"
#include "core/build_info.h"

namespace limbeck {

#ifdef __AVX512BF16__

namespace {

constexpr int64_t lanes = 16;
constexpr int max_rows = 6;     // 6 x 4 accumulators of 32 registers
constexpr int max_columns = 4;

__m512bh broadcast_pair(const bf16* pair) {
  int32_t word;
  std::memcpy(&word, pair, sizeof word);
  return (__m512bh)_mm512_set1_epi32(word);
}

template <int rows, int columns>
void micro_tile(const ProductShape& shape, const bf16* a, const bf16* b, float* c) {
  __m512 sum[rows][columns];
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) sum[i][j] = shape.into == Into::add ? _mm512_loadu_ps(c + i * shape.ldc + j * lanes) : _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < shape.k; k += tile_depth) {
    __m512bh b_row[columns];
    for (int j = 0; j < columns; ++j) b_row[j] = (__m512bh)_mm512_loadu_si512(b + k * shape.ldb + j * lanes * tile_depth);
    for (int i = 0; i < rows; ++i) {
      const __m512bh a_pair = broadcast_pair(a + i * shape.lda + k);
      for (int j = 0; j < columns; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], a_pair, b_row[j]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) _mm512_storeu_ps(c + i * shape.ldc + j * lanes, sum[i][j]);
  }
}

template <int rows, int columns>
void pick_rows(int64_t count, const ProductShape& shape, const bf16* a, const bf16* b, float* c) {
  if constexpr (rows > 1) {
    if (count < rows) return pick_rows<rows - 1, columns>(count, shape, a, b, c);
  }
  micro_tile<rows, columns>(shape, a, b, c);
}

template <int columns>
void panel(int64_t count, const ProductShape& shape, const bf16* a, const bf16* b, float* c) {
  if constexpr (columns > 1) {
    if (count < columns) return panel<columns - 1>(count, shape, a, b, c);
  }
  for (int64_t i = 0; i < shape.m; i += max_rows) {
    pick_rows<max_rows, columns>(std::min<int64_t>(max_rows, shape.m - i), shape, a + i * shape.lda, b, c + i * shape.ldc);
  }
}

}  // namespace

void tile_product(const ProductShape& shape, const bf16* a, const bf16* b, float* c) {
  const int64_t vectors = shape.n / lanes;
  for (int64_t j = 0; j < vectors; j += max_columns) {
    panel<max_columns>(std::min<int64_t>(max_columns, vectors - j), shape, a, b + j * lanes * tile_depth, c + j * lanes);
  }
}

void unit_product(const ProductShape& shape, const bf16* a, const bf16* b, float* c) {
  if (!has_tile_products()) return tile_product(shape, a, b, c);
  const int64_t m = shape.m / amx::tile_rows * amx::tile_rows, k = shape.k / amx::step_values * amx::step_values;
  if (m > 0 && k > 0) amx::small_product({m, shape.n, k, shape.lda, shape.ldb, shape.ldc, shape.into}, a, b, c);
  const Into then = k > 0 ? Into::add : shape.into;
  if (k < shape.k || k == 0) tile_product({m, shape.n, shape.k - k, shape.lda, shape.ldb, shape.ldc, then}, a + k, b + k * shape.ldb, c);
  tile_product({shape.m - m, shape.n, shape.k, shape.lda, shape.ldb, shape.ldc, shape.into}, a + m * shape.lda, b, c + m * shape.ldc);
}

#else

void tile_product(const ProductShape& shape, const float* a, const float* b, float* c) {
  tile_gemm({shape.m, shape.n, shape.k, shape.lda, 1, shape.ldb, shape.ldc, shape.into}, a, b, c);
}

void unit_product(const ProductShape& shape, const float* a, const float* b, float* c) { tile_product(shape, a, b, c); }

#endif

}  // namespace limbeck
