// panel_ahead.h -- memory that is brought nearer while panel_tile.h multiplies.
#pragma once
#include <immintrin.h>
#include <algorithm>
#include <cstdint>
#include "core/panel_pack.h"

namespace limbeck {

inline int64_t tiles_of(int64_t rows) { return (rows + tile_rows - 1) / tile_rows; }

// What is brought nearer while tiles are multiplied: nothing, lines spread over the pairs, or a stream.
struct NothingAhead {
  void at(int64_t) const {}
  void fetch() const {}
  NothingAhead share(int64_t, int64_t) const { return {}; }
  NothingAhead from(int64_t) const { return {}; }
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

// So many bytes a pair, whole or in part: asking again for a line that is on its way costs less than finding out.
struct StreamAhead {
  const char* next;
  int64_t bytes_a_pair;
  void fetch() const { _mm_prefetch(next, _MM_HINT_T1); }
  StreamAhead from(int64_t pair) const { return {next + pair * bytes_a_pair, bytes_a_pair}; }
};

constexpr int64_t near_values = 2048;  // 4 KiB

// As many lines or bytes to fetch as the panel has, over the pairs of all tiles. Several tiles read the panel again and again, so memory brings the next one
// meanwhile; a single one reads it as fast as memory brings it, a little ahead.
template <typename Rows>
inline const char* wanted_next(const Rows& a, const Panel& b) { return reinterpret_cast<const char*>(b.data + (tiles_of(a.count) > 1 ? b.ahead : near_values)); }

template <typename Rows>
inline LinesAhead lines_behind(const Rows& a, const Panel& b) {
  const int64_t lines = b.ahead * static_cast<int64_t>(sizeof(bf16)) / line_bytes;
  const int64_t pairs = tiles_of(a.count) * panel_pairs(a.k);
  return {wanted_next(a, b), lines, (lines + pairs - 1) / pairs};
}

template <typename Rows>
inline StreamAhead stream_behind(const Rows& a, const Panel& b) {
  const int64_t bytes = b.ahead * static_cast<int64_t>(sizeof(bf16));
  const int64_t pairs = tiles_of(a.count) * panel_pairs(a.k);
  return {wanted_next(a, b), (bytes + pairs - 1) / pairs};
}

}  // namespace limbeck
