#include "core/amx_tile.h"

#ifdef __AMX_BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/amx_config.h"
#include "core/gated.h"

namespace limbeck::amx {

namespace {

constexpr int64_t row_bytes = 64;  // of every tile
constexpr int64_t tile_elements = tile_rows * step_values;
constexpr int64_t tile_sums = tile_rows * tile_columns;

#define LIMBECK_LOAD_TILE(is_near, tile, from) \
  if constexpr (is_near) _tile_loadd(tile, from, row_bytes); \
  else _tile_stream_loadd(tile, from, row_bytes)

// Tiles 0 to 3 hold the sums, 4 and 5 rows of A, 6 and 7 columns of B. The operand that is not near is loaded past the first-level cache (tileloaddt1), so
// that the other stays there: with plain loads the products run at two thirds of this speed.
template <Near near, bool both_row_tiles>
void multiply_steps(const Block& block, Ahead& ahead, int64_t lines_a_step) {
  for (int64_t step = 0; step < block.steps; ++step) {
    const bf16* a = block.a + step * step_elements;
    const bf16* b = block.b + step * step_elements;
    LIMBECK_LOAD_TILE(near == Near::b, 6, b);
    LIMBECK_LOAD_TILE(near == Near::a, 4, a);
    _tile_dpbf16ps(0, 4, 6);
    LIMBECK_LOAD_TILE(near == Near::b, 7, b + tile_elements);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (both_row_tiles) {
      LIMBECK_LOAD_TILE(near == Near::a, 5, a + tile_elements);
    }
    ahead.fetch(lines_a_step);
    if constexpr (both_row_tiles) {
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

inline void begin_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

inline void load_sums(const float* sums) {
  _tile_loadd(0, sums, row_bytes);
  _tile_loadd(1, sums + tile_sums, row_bytes);
  _tile_loadd(2, sums + 2 * tile_sums, row_bytes);
  _tile_loadd(3, sums + 3 * tile_sums, row_bytes);
}

inline void store_sums(float* sums) {
  _tile_stored(0, sums, row_bytes);
  _tile_stored(1, sums + tile_sums, row_bytes);
  _tile_stored(2, sums + 2 * tile_sums, row_bytes);
  _tile_stored(3, sums + 3 * tile_sums, row_bytes);
}

inline const float* sums_of_row(const float* sums, int64_t row) { return sums + row / tile_rows * 2 * tile_sums + row % tile_rows * tile_columns; }

inline __mmask16 first_of(int64_t count) { return count <= 0 ? 0 : static_cast<__mmask16>(0xffffu >> (tile_columns - std::min(count, tile_columns))); }

// Tiles of C a step: up to two by two.
template <bool two_rows, bool two_columns>
void small_tiles(const SmallShape& shape, const bf16* a, const bf16* b, float* c) {
  const int64_t a_bytes = shape.lda * 2, b_bytes = shape.ldb * 4, c_bytes = shape.ldc * 4;
  float* below = c + tile_rows * shape.ldc;
  begin_sums();
  if (shape.into == Into::add) {
    _tile_loadd(0, c, c_bytes);
    if constexpr (two_columns) _tile_loadd(1, c + tile_columns, c_bytes);
    if constexpr (two_rows) _tile_loadd(2, below, c_bytes);
    if constexpr (two_rows && two_columns) _tile_loadd(3, below + tile_columns, c_bytes);
  }
  for (int64_t k = 0; k < shape.k; k += step_values) {
    const bf16* b_rows = b + k * shape.ldb;
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, b_rows, b_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (two_columns) {
      _tile_loadd(7, b_rows + 2 * tile_columns, b_bytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (two_rows) {
      _tile_loadd(5, a + tile_rows * shape.lda + k, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (two_columns) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, c_bytes);
  if constexpr (two_columns) _tile_stored(1, c + tile_columns, c_bytes);
  if constexpr (two_rows) _tile_stored(2, below, c_bytes);
  if constexpr (two_rows && two_columns) _tile_stored(3, below + tile_columns, c_bytes);
}

template <bool two_rows>
void small_rows(const SmallShape& shape, const bf16* a, const bf16* b, float* c) {
  int64_t column = 0;
  for (; column + panel_columns <= shape.n; column += panel_columns) small_tiles<two_rows, true>(shape, a, b + 2 * column, c + column);
  if (column < shape.n) small_tiles<two_rows, false>(shape, a, b + 2 * column, c + column);
}

}  // namespace

Session::Session() {
  static constexpr TileConfig config;
  _tile_loadconfig(&config);
}

Session::~Session() { _tile_release(); }

template <Near near>
void multiply(const Block& block, Chain chain, Ahead& ahead, int64_t lines_a_step, float* sums) {
  finish_writes(block.a);
  if (chain == Chain::begin) begin_sums();
  else load_sums(sums);
  if (block.rows > tile_rows) multiply_steps<near, true>(block, ahead, lines_a_step);
  else multiply_steps<near, false>(block, ahead, lines_a_step);
  store_sums(sums);
}

template void multiply<Near::a>(const Block&, Chain, Ahead&, int64_t, float*);
template void multiply<Near::b>(const Block&, Chain, Ahead&, int64_t, float*);

void small_product(const SmallShape& shape, const bf16* a, const bf16* b, float* c) {
  const Session session;
  finish_writes(a);
  int64_t row = 0;
  for (; row + block_rows <= shape.m; row += block_rows) small_rows<true>(shape, a + row * shape.lda, b, c + row * shape.ldc);
  if (row < shape.m) small_rows<false>(shape, a + row * shape.lda, b, c + row * shape.ldc);
}

void store(const float* sums, Extent extent, Into into, float* c, int64_t ldc) {
  const __mmask16 low = first_of(extent.columns), high = first_of(extent.columns - tile_columns);
  for (int64_t row = 0; row < extent.rows; ++row) {
    const float* from = sums_of_row(sums, row);
    float* to = c + row * ldc;
    __m512 first = _mm512_load_ps(from), second = _mm512_load_ps(from + tile_sums);
    if (extent.columns == panel_columns) {  // whole vectors are stored without a mask: masked stores are slow on some CPUs
      if (into == Into::add) {
        first = _mm512_add_ps(_mm512_loadu_ps(to), first);
        second = _mm512_add_ps(_mm512_loadu_ps(to + tile_columns), second);
      }
      _mm512_storeu_ps(to, first);
      _mm512_storeu_ps(to + tile_columns, second);
      continue;
    }
    if (into == Into::add) {
      first = _mm512_add_ps(_mm512_maskz_loadu_ps(low, to), first);
      second = _mm512_add_ps(_mm512_maskz_loadu_ps(high, to + tile_columns), second);
    }
    _mm512_mask_storeu_ps(to, low, first);
    _mm512_mask_storeu_ps(to + tile_columns, high, second);
  }
}

void store(const float* sums, Extent extent, Into, bf16* c, int64_t ldc) {
  const __mmask32 mask = first_of(extent.columns) | static_cast<__mmask32>(first_of(extent.columns - tile_columns)) << tile_columns;
  for (int64_t row = 0; row < extent.rows; ++row) {
    const float* from = sums_of_row(sums, row);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(from + tile_sums), _mm512_load_ps(from));
    if (extent.columns == panel_columns) _mm512_storeu_si512(c + row * ldc, both);
    else _mm512_mask_storeu_epi16(c + row * ldc, mask, both);
  }
}

void store(const float* sums, Extent extent, Into, Gated* c, int64_t ldc) {
  const __mmask16 mask = first_of(extent.columns);
  for (int64_t row = 0; row < extent.rows; ++row) {
    const float* from = sums_of_row(sums, row);
    const Lanes value = gated(as_bf16(load(from)), as_bf16(load(from + tile_sums)));
    const __m256i narrow = (__m256i)_mm512_cvtneps_pbh(value.part[0]);
    if (extent.columns == tile_columns) _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + row * ldc), narrow);
    else _mm256_mask_storeu_epi16(c + row * ldc, mask, narrow);
  }
}

}  // namespace limbeck::amx

#endif
