#include "core/amx_rows.h"

#ifdef __AMX_BF16__

#include <immintrin.h>
#include <initializer_list>
#include "core/amx_config.h"

namespace limbeck::amx {

namespace {

constexpr int64_t tile_elements = 512;
constexpr int64_t row_bytes = 64;
constexpr int64_t weights_bytes = 128;  // of a row: 64 bf16

// Tile 0 holds sums and 4 to 7 weights or rows, as many rows as there are; 2 and 3 what they are multiplied by.
constexpr TileConfig config_for(int64_t rows) {
  TileConfig config;
  for (int tile : {0, 4, 5, 6, 7}) config.rows[tile] = static_cast<uint8_t>(rows);
  return config;
}

}  // namespace

RowSession::RowSession(int64_t rows) {
  const TileConfig config = config_for(rows);
  finish_writes(&config);
  _tile_loadconfig(&config);
}

RowSession::~RowSession() { _tile_release(); }

void weigh_columns(const RowScores& io, const bf16* columns, float* scores) {
  finish_writes(io.rows);
  _tile_zero(0);
  for (int64_t d = 0; d < io.depth; d += 32) {
    _tile_loadd(4, io.rows + d, io.row_stride * 2);
    _tile_loadd(2, columns + d / 32 * tile_elements, row_bytes);
    _tile_dpbf16ps(0, 4, 2);
  }
  _tile_stored(0, scores, io.score_stride * 4);
}

void mix_values(const RowWeights& weights, const bf16* values, int64_t width, float* out, int64_t out_stride) {
  finish_writes(weights.rounded);
  const bool both_steps = weights.steps > 1;
  _tile_loadd(4, weights.rounded, weights_bytes);
  _tile_loadd(6, weights.rest, weights_bytes);
  if (both_steps) {
    _tile_loadd(5, weights.rounded + 32, weights_bytes);
    _tile_loadd(7, weights.rest + 32, weights_bytes);
  }
  for (int64_t d = 0; d < width; d += 16) {
    const bf16* tile = values + d / 16 * tile_elements;
    _tile_loadd(0, out + d, out_stride * 4);
    _tile_loadd(2, tile, row_bytes);
    _tile_dpbf16ps(0, 4, 2);
    if (both_steps) {
      _tile_loadd(3, tile + width / 16 * tile_elements, row_bytes);
      _tile_dpbf16ps(0, 5, 3);
    }
    _tile_dpbf16ps(0, 6, 2);
    if (both_steps) _tile_dpbf16ps(0, 7, 3);
    _tile_stored(0, out + d, out_stride * 4);
  }
}

}  // namespace limbeck::amx

#endif
