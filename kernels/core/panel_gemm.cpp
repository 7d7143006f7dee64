#include "core/panel_gemm.h"

#include <algorithm>
#include "core/deep_product.h"
#include "core/panel_pack.h"
#include "core/panel_tile.h"
#include "core/parallel.h"

namespace limbeck {

namespace {

constexpr int64_t packed_bytes = int64_t{8} << 20;  // of B at a time, which the cores share
constexpr int64_t turned_bytes = int64_t{8} << 20;  // of A at a time, where it has to be turned
constexpr int64_t turned_rows = 16 * tile_rows;      // of A a task: whole lines of each row of k
constexpr int64_t tasks_a_thread = 16;
constexpr int64_t direct_tasks_a_thread = 3;
constexpr int64_t packed_tasks_a_thread = 4;

#ifdef __AVX512BF16__
constexpr int64_t near_bytes = 384 << 10;  // of A a task: they stay near while the panels pass
constexpr int64_t row_element = sizeof(bf16);
constexpr bool reads_stored_rows = true;
#else
constexpr int64_t near_bytes = 192 << 10;
constexpr int64_t row_element = sizeof(float);
constexpr bool reads_stored_rows = false;
#endif

constexpr int64_t turned_element = sizeof(TurnedElement);

int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }
int64_t round_up(int64_t count, int64_t step) { return blocks_of(count, step) * step; }

// Where the panels of one block of k lie in B packed whole.
struct PackedPanels {
  int64_t count, elements, offset;
  PackedPanels(int64_t n, int64_t k_begin, int64_t k_size)
      : count(blocks_of(n, panel_columns)), elements(panel_pairs(k_size) * 2 * panel_columns), offset(k_begin * count * panel_columns) {}
};

class PanelProduct {
 public:
  static constexpr int64_t k_block = 4096;  // a panel of 48 columns then takes 384 KiB, which leaves room in a second-level cache

  PanelProduct(const GemmShape& shape, const bf16* a, const bf16* b) : shape_(shape), a_(a), b_(b) {}
  // B lies packed whole; A as stored.
  PanelProduct(const GemmShape& shape, const bf16* a, PackedColumns b) : shape_(shape), a_(a), b_(nullptr), whole_(b.data) {}

  // Allocates what the whole product needs.
  Status prepare() {
    if (is_direct()) return fine();
    if (!whole_) LIMBECK_TRY(prepare_panels());
    return turns() ? prepare_turned() : fine();
  }

  void add_block(Part rows, Part depth, Into into, float* c, int64_t ldc) const {
    run(rows, depth, [&](const auto& a, int64_t row, const auto& columns, int64_t column) {
      panel_tiles(a, columns, into, c + (row - rows.begin) * ldc + column, ldc);
    });
  }

  void add_block(Part rows, Part depth, Into, bf16* c, int64_t ldc) const {
    run(rows, depth, [&](const auto& a, int64_t row, const auto& columns, int64_t column) {
      panel_tiles(a, columns, c + (row - rows.begin) * ldc + column, ldc);
    });
  }

 private:
  Status prepare_panels() {
    static Scratch panels;
    panel_elements_ = panel_pairs(block_depth()) * 2 * panel_columns;
    panels_a_block_ = std::min(blocks_of(shape_.n, panel_columns), packed_bytes / (panel_elements_ * 2));
    panels_ = static_cast<bf16*>(panels.at_least(panels_a_block_ * panel_elements_ * 2));
    return panels_ ? fine() : no_memory(panels_a_block_ * panel_elements_ * 2);
  }

  Status prepare_turned() {
    static Scratch turned;
    const int64_t most_rows = turned_bytes / (turned_elements(tile_rows, block_depth()) * turned_element) * tile_rows;
    turned_rows_ = std::min(round_up(shape_.m, tile_rows), round_up(most_rows, turned_rows));
    const int64_t bytes = turned_elements(turned_rows_, block_depth()) * turned_element;
    turned_ = static_cast<TurnedElement*>(turned.at_least(bytes));
    return turned_ ? fine() : no_memory(bytes);
  }

  int64_t block_depth() const { return std::min(k_block, shape_.k); }

  // Calls tile(rows of A, row, columns of B, first column) over C[rows, all] for one block of k.
  template <typename Tile>
  void run(Part rows, Part depth, const Tile& tile) const {
#ifdef __AVX512BF16__
    if (is_direct()) return run_direct(rows, depth, tile);
    if (!turns()) return run_rows(stored(rows, depth), rows.begin, depth, tile);
#endif
    for (int64_t begin = 0; begin < rows.size; begin += turned_rows_) {
      const Part part{rows.begin + begin, std::min(turned_rows_, rows.size - begin)};
      run_rows(turn(part, depth), part.begin, depth, tile);
    }
  }

  template <typename Rows, typename Tile>
  void run_rows(const Rows& a, int64_t first_row, Part depth, const Tile& tile) const {
    if (whole_) run_packed(a, first_row, depth, tile);
    else run_tasks(a, first_row, depth, tile);
  }

  PanelRows stored(Part rows, Part depth) const { return {a_ + rows.begin * shape_.lda + depth.begin, rows.size, shape_.lda, depth.size}; }

  bool turns() const { return !reads_stored_rows || shape_.a == Layout::transposed; }

  bool is_direct() const { return reads_stored_rows && !whole_ && shape_.m <= most_direct_rows && shape_.a == Layout::normal && shape_.b == Layout::transposed; }

#ifdef __AVX512BF16__
  template <typename Tile>
  void run_direct(Part rows, Part depth, const Tile& tile) const {
    const int64_t step = round_up(blocks_of(shape_.n, direct_tasks_a_thread * thread_count()), panel_columns);
    parallel_blocks(shape_.n, step, [&](int64_t begin, int64_t end) {
      tile(stored(rows, depth), rows.begin, StoredColumns{b_ + begin * shape_.ldb + depth.begin, end - begin, shape_.ldb}, begin);
    });
  }
#endif

  // Panels follow each other in memory, so a task of several has the next one fetched while it multiplies by one.
  template <typename Rows, typename Tile>
  void run_packed(const Rows& a, int64_t first_row, Part depth, const Tile& tile) const {
    const PackedPanels all(shape_.n, depth.begin, depth.size);
    const bf16* panels = whole_ + all.offset;
    const int64_t task_rows = task_rows_of(a.count, a.k, all.count);
    const int64_t row_tasks = blocks_of(a.count, task_rows);
    const int64_t runs = row_tasks > 1 ? all.count : std::min(all.count, packed_tasks_a_thread * thread_count());
    parallel_for(row_tasks * runs, [&](int64_t index) {
      const int64_t row = index / runs * task_rows, run = index % runs;
      const Rows part = a.from(row, task_rows);
      for (int64_t panel = all.count * run / runs; panel < all.count * (run + 1) / runs; ++panel) {
        const int64_t column = panel * panel_columns;
        const bf16* data = panels + panel * all.elements;
        tile(part, first_row + row, Panel{data, std::min(panel_columns, shape_.n - column), row_tasks > 1 ? 0 : all.elements}, column);
      }
    });
  }

  TurnedRows turn(Part rows, Part depth) const {
    // Few rows as stored are shared out in tiles; the other way round, a task takes whole lines.
    const int64_t share = round_up(blocks_of(rows.size, thread_count()), tile_rows);
    const int64_t step = shape_.a == Layout::normal ? std::min(share, turned_rows) : turned_rows;
    parallel_blocks(rows.size, step, [&](int64_t begin, int64_t end) {
      TurnedElement* to = turned_ + turned_elements(begin, depth.size);
#ifndef __AVX512BF16__
      if (shape_.a == Layout::normal) return turn_stored_rows(stored({rows.begin + begin, end - begin}, depth), to);
#endif
      turn_rows(a_ + depth.begin * shape_.lda + rows.begin + begin, shape_.lda, depth.size, end - begin, to);
    });
    return {turned_, rows.size, depth.size};
  }

  template <typename Rows, typename Tile>
  void run_tasks(const Rows& a, int64_t first_row, Part depth, const Tile& tile) const {
    const int64_t block_columns = panels_a_block_ * panel_columns;
    for (int64_t begin = 0; begin < shape_.n; begin += block_columns) {
      const Part columns{begin, std::min(block_columns, shape_.n - begin)};
      const int64_t panels = blocks_of(columns.size, panel_columns);
      parallel_for(panels, [&](int64_t index) { pack(columns, depth, index); });
      const int64_t rows = task_rows_of(a.count, a.k, panels);
      parallel_for(blocks_of(a.count, rows) * panels, [&](int64_t index) {
        const int64_t row = index / panels * rows, column = index % panels * panel_columns;
        const Panel panel{panels_ + index % panels * panel_elements_, std::min(panel_columns, columns.size - column)};
        tile(a.from(row, rows), first_row + row, panel, begin + column);
      });
    }
  }

  // Few enough to stay near, and to keep all threads busy to the end.
  int64_t task_rows_of(int64_t count, int64_t k, int64_t panels) const {
    const int64_t near = near_bytes / (k * row_element);
    const int64_t busy = blocks_of(count * panels, tasks_a_thread * thread_count());
    return round_up(std::max<int64_t>(std::min(near, busy), 1), tile_rows);
  }

  void pack(Part columns, Part depth, int64_t index) const {
    const int64_t column = columns.begin + index * panel_columns;
    const int64_t count = std::min(panel_columns, columns.size - index * panel_columns);
    bf16* panel = panels_ + index * panel_elements_;
    if (shape_.b == Layout::transposed) pack_panel_from_columns({b_ + column * shape_.ldb + depth.begin, count, shape_.ldb}, depth.size, panel);
    else pack_panel_from_rows(b_ + depth.begin * shape_.ldb + column, shape_.ldb, depth.size, count, panel);
  }

  const GemmShape shape_;
  const bf16* a_;
  const bf16* b_;
  const bf16* whole_ = nullptr;
  bf16* panels_ = nullptr;
  int64_t panel_elements_ = 0, panels_a_block_ = 0;
  TurnedElement* turned_ = nullptr;
  int64_t turned_rows_ = 0;
};

template <typename B, typename C>
Status product_of(const GemmShape& shape, const bf16* a, B b, C* c) {
  PanelProduct product(shape, a, b);
  return multiply_deep(product, shape, c);
}

}  // namespace

Status panel_gemm(const GemmShape& shape, const bf16* a, const bf16* b, float* c) { return product_of(shape, a, b, c); }
Status panel_gemm(const GemmShape& shape, const bf16* a, const bf16* b, bf16* c) { return product_of(shape, a, b, c); }
Status panel_gemm(const GemmShape& shape, const bf16* a, PackedColumns b, float* c) { return product_of(shape, a, b, c); }
Status panel_gemm(const GemmShape& shape, const bf16* a, PackedColumns b, bf16* c) { return product_of(shape, a, b, c); }

int64_t packed_columns_elements(int64_t n, int64_t k) { return round_up(n, panel_columns) * 2 * panel_pairs(k); }

void pack_columns(const bf16* b, int64_t ldb, int64_t n, int64_t k, bf16* to) {
  each_part(k, PanelProduct::k_block, [&](Part depth) {
    const PackedPanels all(n, depth.begin, depth.size);
    parallel_for(all.count, [&](int64_t panel) {
      const int64_t column = panel * panel_columns;
      pack_panel_from_columns({b + column * ldb + depth.begin, std::min(panel_columns, n - column), ldb}, depth.size, to + all.offset + panel * all.elements);
    });
  });
}

}  // namespace limbeck
