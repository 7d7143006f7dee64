#include "core/amx_few.h"

#ifdef __AMX_BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/amx_ahead.h"
#include "core/amx_config.h"

namespace limbeck::amx {

namespace {

constexpr int64_t tasks_a_thread = 4;  // at least, where there are so many panels
constexpr int64_t panels_a_task = 8;   // some, of many panels: a thread that is held up would have the others wait
constexpr int64_t element_bytes = sizeof(bf16);
constexpr int64_t row_bytes = 64;  // of every tile
constexpr int64_t tile_elements = step_elements / 2;
constexpr int64_t tile_sums = tile_rows * tile_columns;
constexpr int64_t step_lines = step_elements * element_bytes / line_bytes;
constexpr int64_t streams = 4;  // of a panel, side by side
constexpr int64_t step_turns = step_lines / streams;
constexpr int64_t stored_rows = 8;  // at a time, between lines that are fetched

// Turns of every step, a line of each stream, that are left for when a panel's sums are stored: that takes a while, and longer with gates, during which memory would do
// nothing.
template <typename C>
constexpr int64_t turns_left = 1;
template <>
constexpr int64_t turns_left<Gated> = 2;

// A panel that comes nearer while another is multiplied, a line of each of its quarters in turn: the CPU's own prefetchers run ahead in every one, and four of
// them keep more lines on their way than one. A few lines at a time: a core can wait for some sixteen, and tiles' loads stand in line behind them.
class PanelAhead {
 public:
  PanelAhead(const bf16* panel, int64_t steps) : line_(reinterpret_cast<const char*>(panel)), quarter_(steps * step_turns * line_bytes), advance_(line_bytes) {}

  // Nothing: one line that is near, again and again.
  explicit PanelAhead(const bf16* near) : line_(reinterpret_cast<const char*>(near)), quarter_(0), advance_(0) {}

  template <int64_t turns>
  void fetch() {
#pragma GCC unroll 8
    for (int64_t turn = 0; turn < turns; ++turn) {
#pragma GCC unroll 4
      for (int64_t stream = 0; stream < streams; ++stream) _mm_prefetch(line_ + stream * quarter_, _MM_HINT_T1);
      line_ += advance_;
    }
  }

  void fetch(int64_t turns) {
    for (int64_t turn = 0; turn < turns; ++turn) fetch<1>();
  }

 private:
  const char* line_;
  const int64_t quarter_, advance_;
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

// What a thread keeps from one task to the next.
struct Worker {
  RowTiles tiles;
  const bf16* asked_for;  // the panel that comes nearer since the last one: it need not be asked for again
  explicit Worker(int64_t rows) : tiles(rows), asked_for(nullptr) {}
};

struct Rows {
  const bf16* first;
  int64_t stride;  // elements
};

// How many of a step's turns come before one of its eight instructions.
template <int64_t turns, int64_t place>
constexpr int64_t turns_before = turns * (place + 1) / 8 - turns * place / 8;

// B goes past the first-level cache, in which A's rows stay.
template <bool both_row_tiles, int64_t turns>
void multiply_panel(const Rows& a, const bf16* b, int64_t steps, PanelAhead& ahead, float* sums) {
  const int64_t a_bytes = a.stride * element_bytes;
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
    ahead.fetch<turns_before<turns, 0>>();
    _tile_stream_loadd(6, b, row_bytes);
    ahead.fetch<turns_before<turns, 1>>();
    _tile_loadd(4, low, a_bytes);
    ahead.fetch<turns_before<turns, 2>>();
    _tile_dpbf16ps(0, 4, 6);
    ahead.fetch<turns_before<turns, 3>>();
    _tile_stream_loadd(7, b + tile_elements, row_bytes);
    ahead.fetch<turns_before<turns, 4>>();
    _tile_dpbf16ps(1, 4, 7);
    ahead.fetch<turns_before<turns, 5>>();
    if constexpr (both_row_tiles) {
      _tile_loadd(5, high, a_bytes);
      ahead.fetch<turns_before<turns, 6>>();
      _tile_dpbf16ps(2, 5, 6);
      ahead.fetch<turns_before<turns, 7>>();
      _tile_dpbf16ps(3, 5, 7);
    } else {
      ahead.fetch<turns_before<turns, 6> + turns_before<turns, 7>>();
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
  const int64_t row_size = lda_ * element_bytes, bytes = shape_.m * row_size;
  bf16* rows = static_cast<bf16*>(scratch.at_least(bytes));
  if (!rows) return no_memory(bytes);
  parallel_for(shape_.m, [&, from = a_](int64_t row) {
    bf16* to = rows + row * lda_;
    std::memset(to, 0, static_cast<size_t>(row_size));
    std::memcpy(to, from + row * shape_.lda, static_cast<size_t>(shape_.k * element_bytes));
  });
  a_ = rows;
  return fine();
}

template <typename C>
void FewRows::add_block(Part rows, Part depth, Into into, C* c, int64_t ldc) const {
  constexpr int64_t width = panel_width<C>, turns = step_turns - turns_left<C>;
  const int64_t panels = blocks_of(shape_.n, width), steps = steps_of(depth.size);
  const int64_t tasks = std::max(std::min(panels, tasks_a_thread * thread_count()), panels / panels_a_task);
  const Rows a{a_ + rows.begin * lda_ + depth.begin, lda_};
  const auto begin = [&] {
    Ahead(a.first, a.stride * element_bytes, depth.size * element_bytes, rows.size).fetch_all();  // others have just written most of them
    return Worker(rows.size);
  };
  parallel_for(tasks, begin, [&](Worker& worker, int64_t task) {
    alignas(64) float sums[block_sums];
    const int64_t first = panels * task / tasks, end = panels * (task + 1) / tasks;
    const bf16* b = packed_panel(packed_, first, panels, depth);
    if (b != worker.asked_for) PanelAhead(b, steps).fetch(steps * step_turns);
    for (int64_t panel = first; panel < end; ++panel, b += steps * step_elements) {
      worker.asked_for = panel + 1 == end && ends_share(task, tasks) ? nullptr : b + steps * step_elements;
      PanelAhead ahead = worker.asked_for ? PanelAhead(worker.asked_for, steps) : PanelAhead(b);
      if (rows.size > tile_rows) multiply_panel<true, turns>(a, b, steps, ahead, sums);
      else multiply_panel<false, turns>(a, b, steps, ahead, sums);
      C* to = c + panel * width;
      for (int64_t row = 0; row < rows.size; row += stored_rows) {
        ahead.fetch(turns_left<C> * steps * stored_rows / round_up(rows.size, stored_rows));
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
