#include "core/amx_few.h"

#ifdef __AMX_BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/amx_ahead.h"
#include "core/amx_config.h"

namespace limbeck::amx {

namespace {

constexpr int64_t tasks_a_thread = 4;
constexpr int64_t row_bytes = 64;  // of every tile
constexpr int64_t tile_elements = step_elements / 2;
constexpr int64_t tile_sums = tile_rows * tile_columns;
constexpr int64_t step_lines = step_elements * sizeof(bf16) / line_bytes;
constexpr int64_t lines_ahead = 4 * step_lines;
constexpr int64_t stored_rows = 8;  // at a time, between lines that are fetched

// Lines of every step that are left to be fetched while a panel's sums are stored: gating takes a while, during which memory would do nothing.
template <typename C>
constexpr int64_t lines_left = 0;
template <>
constexpr int64_t lines_left<Gated> = 4;

// A panel's lines, asked for ahead of what multiplies them. A few at a time: a core can wait for some sixteen, and tiles' loads stand in line behind them.
class Stream {
 public:
  explicit Stream(const bf16* from) : next_(reinterpret_cast<const char*>(from)) {}

  template <int64_t lines>
  void fetch() {
#pragma GCC unroll 16
    for (int64_t line = 0; line < lines; ++line) _mm_prefetch(next_ + line * line_bytes, _MM_HINT_T1);
    next_ += lines * line_bytes;
  }

  void fetch(int64_t lines) {
    for (int64_t line = 0; line < lines; ++line) fetch<1>();
  }

 private:
  const char* next_;
};

// This thread's tiles for so many rows, as long as it lives: 0 and 1 sums of the first sixteen, 2 and 3 of the others; 4 and 5 rows of A, 6 and 7 columns of B.
class RowTiles {
 public:
  explicit RowTiles(int64_t rows) {
    TileConfig config;
    for (int tile : {0, 1, 4}) config.rows[tile] = static_cast<uint8_t>(std::min(rows, tile_rows));
    for (int tile : {2, 3, 5}) config.rows[tile] = static_cast<uint8_t>(std::clamp<int64_t>(rows - tile_rows, 1, tile_rows));
    finish_writes(&config);
    _tile_loadconfig(&config);
  }
  ~RowTiles() { _tile_release(); }
  RowTiles(const RowTiles&) = delete;
  RowTiles& operator=(const RowTiles&) = delete;
};

struct Rows {
  const bf16* first;
  int64_t stride;  // elements
};

// B goes past the first-level cache, in which A's rows stay.
template <bool both_row_tiles, int64_t lines>
void multiply_panel(const Rows& a, const bf16* b, int64_t steps, Stream& stream, float* sums) {
  constexpr int64_t eighth = lines / 8, rest = lines - 7 * eighth;
  const int64_t a_bytes = a.stride * static_cast<int64_t>(sizeof(bf16));
  finish_writes(a.first);
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (both_row_tiles) {
    _tile_zero(2);
    _tile_zero(3);
  }
  const bf16* low = a.first;
  const bf16* high = a.first + tile_rows * a.stride;
  for (int64_t step = 0; step < steps; ++step, low += step_values, high += step_values, b += step_elements) {
    stream.fetch<eighth>();
    _tile_stream_loadd(6, b, row_bytes);
    stream.fetch<eighth>();
    _tile_loadd(4, low, a_bytes);
    stream.fetch<eighth>();
    _tile_dpbf16ps(0, 4, 6);
    stream.fetch<eighth>();
    _tile_stream_loadd(7, b + tile_elements, row_bytes);
    stream.fetch<eighth>();
    _tile_dpbf16ps(1, 4, 7);
    stream.fetch<eighth>();
    if constexpr (both_row_tiles) {
      _tile_loadd(5, high, a_bytes);
      stream.fetch<eighth>();
      _tile_dpbf16ps(2, 5, 6);
      stream.fetch<rest>();
      _tile_dpbf16ps(3, 5, 7);
    } else {
      stream.fetch<eighth + rest>();
    }
  }
  _tile_stored(0, sums, row_bytes);
  _tile_stored(1, sums + tile_sums, row_bytes);
  if constexpr (both_row_tiles) {
    _tile_stored(2, sums + 2 * tile_sums, row_bytes);
    _tile_stored(3, sums + 3 * tile_sums, row_bytes);
  }
}

const float* sums_of(const float* sums, int64_t row) { return sums + row / tile_rows * 2 * tile_sums + row % tile_rows * tile_columns; }

}  // namespace

// Rows that end within a step are continued with zeros in a copy.
Status FewRows::prepare() {
  if (shape_.k % step_values == 0) return fine();
  static Scratch scratch;
  lda_ = round_up(shape_.k, step_values);
  const int64_t row_size = lda_ * static_cast<int64_t>(sizeof(bf16)), bytes = shape_.m * row_size;
  bf16* rows = static_cast<bf16*>(scratch.at_least(bytes));
  if (!rows) return no_memory(bytes);
  parallel_for(shape_.m, [&, from = a_](int64_t row) {
    bf16* to = rows + row * lda_;
    std::memset(to, 0, static_cast<size_t>(row_size));
    std::memcpy(to, from + row * shape_.lda, static_cast<size_t>(shape_.k) * sizeof(bf16));
  });
  a_ = rows;
  return fine();
}

template <typename C>
void FewRows::add_block(Part rows, Part depth, Into into, C* c, int64_t ldc) const {
  constexpr int64_t width = panel_width<C>;
  const int64_t panels = blocks_of(shape_.n, width), runs = std::min(panels, tasks_a_thread * thread_count()), steps = steps_of(depth.size);
  const Rows a{a_ + rows.begin * lda_ + depth.begin, lda_};
  parallel_for(runs, [&](int64_t run) {
    alignas(64) float sums[block_sums];
    const int64_t first = panels * run / runs;
    Stream stream(packed_panel(packed_, first, panels, depth));
    stream.fetch(lines_ahead);
    const RowTiles tiles(rows.size);
    for (int64_t panel = first; panel < panels * (run + 1) / runs; ++panel) {
      const bf16* b = packed_panel(packed_, panel, panels, depth);
      if (rows.size > tile_rows) multiply_panel<true, step_lines - lines_left<C>>(a, b, steps, stream, sums);
      else multiply_panel<false, step_lines - lines_left<C>>(a, b, steps, stream, sums);
      C* to = c + panel * width;
      for (int64_t row = 0; row < rows.size; row += stored_rows) {
        stream.fetch(lines_left<C> * steps * stored_rows / round_up(rows.size, stored_rows));
        store(sums_of(sums, row), {std::min(stored_rows, rows.size - row), std::min(width, shape_.n - panel * width)}, into, to + row * ldc, ldc);
      }
    }
  });
}

template void FewRows::add_block(Part, Part, Into, float*, int64_t) const;
template void FewRows::add_block(Part, Part, Into, bf16*, int64_t) const;
template void FewRows::add_block(Part, Part, Into, Gated*, int64_t) const;

}  // namespace limbeck::amx

#endif
