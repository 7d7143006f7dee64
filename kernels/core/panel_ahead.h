// panel_ahead.h -- memory that is brought nearer while panel_tile.h multiplies.
#pragma once
#include <immintrin.h>
#include <algorithm>
#include <cstdint>
#include "core/panel_pack.h"

namespace limbeck {

inline int64_t tiles_of(int64_t rows) { return (rows + tile_rows - 1) / tile_rows; }

// What is brought nearer while tiles are multiplied: nothing, or lines spread over the pairs.
struct NothingAhead {
  void at(int64_t) const {}
  NothingAhead share(int64_t, int64_t) const { return {}; }
};

struct LinesAhead {
  const char* next;
  int64_t lines, lines_a_pair;
  void at(int64_t pair) const {
    const int64_t end = std::min(lines, (pair + 1) * lines_a_pair);
    for (int64_t line = pair * lines_a_pair; line < end; ++line) _mm_prefetch(next + line * line_bytes, _MM_HINT_T1);
  }
  // Those of one tile among `tiles`.
  LinesAhead share(int64_t tile, int64_t tiles) const {
    const int64_t begin = lines * tile / tiles;
    return {next + begin * line_bytes, lines * (tile + 1) / tiles - begin, lines_a_pair};
  }
};

constexpr int64_t near_values = 2048;  // 4 KiB

// Lines to fetch, as many as the panel has, over the pairs of all tiles. Several tiles read the panel again and again, so memory brings the next one
// meanwhile; a single one reads it as fast as memory brings it, a little ahead.
template <typename Rows>
inline LinesAhead lines_behind(const Rows& a, const Panel& b) {
  const int64_t lines = b.ahead * static_cast<int64_t>(sizeof(bf16)) / line_bytes;
  const int64_t tiles = tiles_of(a.count);
  const int64_t pairs = tiles * panel_pairs(a.k);
  return {reinterpret_cast<const char*>(b.data + (tiles > 1 ? b.ahead : near_values)), lines, (lines + pairs - 1) / pairs};
}

}  // namespace limbeck
