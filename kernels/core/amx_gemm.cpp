#include "core/amx_gemm.h"

#ifdef __AMX_BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/amx_few.h"
#include "core/amx_pack.h"
#include "core/amx_packed.h"

namespace limbeck::amx {

namespace {

constexpr int64_t element_bytes = sizeof(bf16);
constexpr int64_t step_bytes = step_elements * element_bytes;

constexpr int64_t shared_bytes = int64_t{8} << 20;   // of B's panels at a time, which the cores share
constexpr int64_t chunk_bytes = int64_t{1} << 20;    // of one operand a thread: it stays in a second-level cache of 2 MiB while the other passes
constexpr int64_t most_blocks = 32;                  // of a chunk
constexpr int64_t most_summed = chunk_bytes / ((near_steps + 1) * step_bytes);  // of them, where they are deeper than near_steps and their sums wait
constexpr int64_t few = 128;                         // rows for which no panel of B is wanted twice
constexpr int64_t few_tasks_a_thread = 4;

// Rows of A in blocks, or panels of B: for every run of near_steps, their steps one after the other.
struct Laid {
  const bf16* data;
  int64_t blocks, steps;
  int64_t offset(int64_t block, int64_t first_step, int64_t steps_there) const { return (first_step * blocks + block * steps_there) * step_elements; }
};

template <typename C>
struct Target {
  C* c;  // of the first row and column
  int64_t ldc;
  Into into;
};

// A panel that lies packed already, followed by what is wanted next.
struct PanelThere {
  static constexpr int64_t steps_ahead = 4;
  const bf16* data;
  const bf16* at(int64_t first_step, int64_t, Ahead&) const { return data + first_step * step_elements; }
  Ahead behind(int64_t first_step, int64_t steps) const { return {data + (first_step + steps) * step_elements, steps * step_bytes, steps * step_bytes, 1}; }
  Ahead front() const { return {data, steps_ahead * step_bytes, steps_ahead * step_bytes, 1}; }
};

// A panel that is packed when it is needed, near_steps at a time, because only one task needs it.
struct PanelMade {
  const bf16* b;  // of its first column
  int64_t ldb, columns, k;
  Layout layout;
  bf16* near;
  const bf16* at(int64_t first_step, int64_t steps, Ahead& ahead) const {
    const int64_t begin = first_step * step_values, size = std::min(steps * step_values, k - begin);
    if (layout == Layout::transposed) pack_columns(b + begin, ldb, columns, size, near, ahead);
    else pack_rows_of_columns(b + begin * ldb, ldb, columns, size, near);
    return near;
  }
  Ahead behind(int64_t first_step, int64_t steps) const {
    const int64_t begin = first_step * step_values;
    if (layout == Layout::transposed) return {b + panel_columns * ldb + begin, ldb * element_bytes, std::min(steps * step_values, k - begin) * element_bytes, panel_columns};
    return {};
  }
};

// Rows of A by one panel of B, within a session.
template <typename Panel, typename C>
void multiply_panel(const Laid& a, int64_t rows, const Panel& panel, int64_t columns, const Target<C>& target) {
  alignas(64) float sums[most_summed * block_sums];
  for (int64_t first = 0; first < a.steps; first += near_steps) {
    const int64_t steps = std::min(near_steps, a.steps - first);
    Ahead ahead = panel.behind(first, steps);
    const bf16* b = panel.at(first, steps, ahead);
    const bool last = first + steps == a.steps;
    const int64_t lines_a_step = blocks_of(ahead.lines(), a.blocks * steps);
    for (int64_t block = 0; block < a.blocks; ++block) {
      const int64_t rows_there = std::min(block_rows, rows - block * block_rows);
      float* own = a.steps > near_steps ? sums + block * block_sums : sums;
      multiply<Near::b>({a.data + a.offset(block, first, steps), b, steps, rows_there}, first == 0 ? Chain::begin : Chain::go_on, ahead, lines_a_step, own);
      if (last) store(own, {rows_there, columns}, target.into, target.c + block * block_rows * target.ldc, target.ldc);
    }
  }
}

class Product {
 public:
  static constexpr int64_t k_block = deepest;

  Product(const GemmShape& shape, const bf16* a, const bf16* b) : shape_(shape), a_(a), b_(b) {}
  Product(const GemmShape& shape, const bf16* a, Packed b) : shape_(shape), a_(a), b_(nullptr), whole_(b.data) {}

  Status prepare() {
    static Scratch chunks, panels;
    const int64_t block_bytes = steps_of(std::min(deepest, shape_.k)) * step_bytes;  // and those of a panel
    chunk_blocks_ = shape_.m <= few ? blocks_of(shape_.m, block_rows) : std::clamp(chunk_bytes / block_bytes, few / block_rows, most_blocks);
    chunk_elements_ = chunk_blocks_ * block_bytes / element_bytes;
    chunk_stride_ = chunk_elements_ + chunk_blocks_ * block_sums * sizeof(float) / element_bytes;  // the sums of one row of blocks stand behind
    const int64_t chunks_bytes = chunk_stride_ * element_bytes * thread_count();
    chunks_ = static_cast<bf16*>(chunks.at_least(chunks_bytes));
    if (!chunks_) return no_memory(chunks_bytes);
    if (shape_.m <= few || shape_.a == Layout::normal) return fine();
    panels_a_block_ = std::min(blocks_of(shape_.n, panel_columns), shared_bytes / block_bytes);
    panels_ = static_cast<bf16*>(panels.at_least(panels_a_block_ * block_bytes));
    return panels_ ? fine() : no_memory(panels_a_block_ * block_bytes);
  }

  template <typename C>
  void add_block(Part rows, Part depth, Into into, C* c, int64_t ldc) const {
    const Target<C> target{c, ldc, into};
    if (shape_.m <= few) run_few(rows, depth, target);
    else if (shape_.a == Layout::transposed) run_rows(rows, depth, target);
    else run_columns(rows, depth, target);
  }

 private:
  // Tasks are panels. Every thread lays all rows out for itself: what another core has just written is slower to read than to copy, and waiting for one
  // thread to do it would be slower still.
  template <typename C>
  void run_few(Part rows, Part depth, const Target<C>& target) const {
    static int64_t products = 0;
    const int64_t product = ++products, panels = blocks_of(shape_.n, panel_width<C>);
    const int64_t runs = std::min(panels, few_tasks_a_thread * thread_count());
    parallel_for(runs, [&](int64_t run) {
      static thread_local int64_t laid_for = 0;
      alignas(64) bf16 near[near_steps * step_elements];
      const Laid a{chunks_ + thread_index() * chunk_stride_, blocks_of(rows.size, block_rows), steps_of(depth.size)};
      const int64_t first = panels * run / runs;
      if (laid_for != product) {
        if (whole_) PanelThere{whole_panel(first, depth, panels)}.front().fetch_all();
        for (int64_t block = 0; block < a.blocks; ++block) pack_block(a, rows, depth, block, chunks_ + thread_index() * chunk_stride_);
        laid_for = product;
      }
      const Session session;
      for (int64_t panel = first; panel < panels * (run + 1) / runs; ++panel) {
        const int64_t column = panel * panel_width<C>, columns = std::min(panel_width<C>, shape_.n - column);
        const Target<C> part{target.c + column, target.ldc, target.into};
        if (whole_) multiply_panel(a, rows.size, PanelThere{whole_panel(panel, depth, panels)}, columns, part);
        else multiply_panel(a, rows.size, PanelMade{of_b(column, depth), shape_.ldb, columns, depth.size, shape_.b, near}, columns, part);
      }
    });
  }

  // For A as stored: a chunk of B's panels is laid out once and stays near, rows of A pass. Nothing is shared, and C is written along its rows.
  template <typename C>
  void run_columns(Part rows, Part depth, const Target<C>& target) const {
    const int64_t panels = blocks_of(shape_.n, panel_width<C>);
    const Grid grid = grid_of(rows.size, panels);
    parallel_for(grid.row_tasks * grid.panel_tasks, [&](int64_t index) {
      const int64_t row = index / grid.panel_tasks * grid.rows, first = index % grid.panel_tasks * grid.panels;
      if (row >= rows.size || first >= panels) return;
      bf16* chunk = chunks_ + thread_index() * chunk_stride_;
      const Laid b{chunk, std::min(grid.panels, panels - first), steps_of(depth.size)};
      for (int64_t panel = 0; panel < b.blocks; ++panel) {
        if (whole_) copy_panel(b, whole_panel(first + panel, depth, panels), panel, chunk);
        else lay_panel(b, first, depth, panel, chunk);
      }
      float* sums = reinterpret_cast<float*>(chunk + chunk_elements_);
      const Part part{rows.begin + row, std::min(grid.rows, rows.size - row)};
      const int64_t column = first * panel_width<C>;
      const Session session;
      for (int64_t begin = 0; begin < part.size; begin += block_rows) {
        multiply_rows({part, begin}, depth, b, Target<C>{target.c + (row + begin) * target.ldc + column, target.ldc, target.into}, shape_.n - column, sums);
      }
    });
  }

  // A block among the rows of a task.
  struct RowBlock {
    Part task;
    int64_t begin;
    int64_t rows() const { return std::min(block_rows, task.size - begin); }
  };

  // One block of A's rows by a chunk of B's panels, with at most so many columns of C.
  template <typename C>
  void multiply_rows(RowBlock block, Part depth, const Laid& b, const Target<C>& target, int64_t columns, float* sums) const {
    constexpr int64_t width = panel_width<C>;
    alignas(64) bf16 near[near_steps * step_elements];
    for (int64_t first = 0; first < b.steps; first += near_steps) {
      const int64_t steps = std::min(near_steps, b.steps - first);
      const auto [from, size] = rows_of_a(block, depth, first);
      pack_rows(from, shape_.lda, block.rows(), size, near);
      const bool last = first + steps == b.steps;
      Ahead ahead = rows_ahead(block, depth, last ? 0 : first + steps);
      const int64_t lines_a_step = blocks_of(ahead.lines(), b.blocks * steps);
      for (int64_t panel = 0; panel < b.blocks; ++panel) {
        float* own = b.steps > near_steps ? sums + panel * block_sums : sums;
        multiply<Near::a>({near, b.data + b.offset(panel, first, steps), steps, block.rows()}, first == 0 ? Chain::begin : Chain::go_on, ahead, lines_a_step, own);
        if (last) store(own, {block.rows(), std::min(width, columns - panel * width)}, target.into, target.c + panel * width, target.ldc);
      }
    }
  }

  struct Values {
    const bf16* from;
    int64_t size;  // of every row
  };

  Values rows_of_a(RowBlock block, Part depth, int64_t first_step) const {
    const int64_t begin = first_step * step_values;
    return {a_ + (block.task.begin + block.begin) * shape_.lda + depth.begin + begin, std::min(near_steps * step_values, depth.size - begin)};
  }

  // What is packed next: more of the same rows, or the first values of those that follow.
  Ahead rows_ahead(RowBlock block, Part depth, int64_t first_step) const {
    if (first_step == 0) block.begin += block_rows;
    if (block.begin >= block.task.size) return {};
    const auto [from, size] = rows_of_a(block, depth, first_step);
    return {from, shape_.lda * element_bytes, size * element_bytes, block.rows()};
  }

  struct Grid {
    int64_t rows, panels, row_tasks, panel_tasks;  // of a task; tasks
  };

  // As few chunks of panels as stay near and keep all threads busy; where they would become narrow, rows are cut, too.
  Grid grid_of(int64_t rows, int64_t panels) const {
    constexpr int64_t narrow = 8;
    const int64_t threads = thread_count();
    int64_t panel_tasks = blocks_of(panels, chunk_blocks_);
    panel_tasks = panel_tasks >= threads ? round_up(panel_tasks, threads) : std::max(panel_tasks, std::min(threads, panels / narrow));
    const int64_t row_tasks = std::min(blocks_of(threads, panel_tasks), blocks_of(rows, block_rows));
    return {round_up(blocks_of(rows, row_tasks), block_rows), blocks_of(panels, panel_tasks), row_tasks, panel_tasks};
  }

  void lay_panel(const Laid& b, int64_t first_panel, Part depth, int64_t panel, bf16* to) const {
    const int64_t column = (first_panel + panel) * panel_columns, columns = std::min(panel_columns, shape_.n - column);
    for (int64_t first = 0; first < b.steps; first += near_steps) {
      const int64_t steps = std::min(near_steps, b.steps - first), begin = first * step_values;
      const Part part{depth.begin + begin, std::min(steps * step_values, depth.size - begin)};
      pack_columns_of_b(column, columns, part, to + b.offset(panel, first, steps), panel + 1 < b.blocks);
    }
  }

  static void copy_panel(const Laid& b, const bf16* from, int64_t panel, bf16* to) {
    for (int64_t first = 0; first < b.steps; first += near_steps) {
      const int64_t steps = std::min(near_steps, b.steps - first);
      std::memcpy(to + b.offset(panel, first, steps), from + first * step_elements, static_cast<size_t>(steps * step_bytes));
    }
  }

  // For A that has to be turned, which costs more than laying out B: a chunk of A's rows stays near, panels of B pass.
  template <typename C>
  void run_rows(Part rows, Part depth, const Target<C>& target) const {
    const int64_t all = blocks_of(shape_.n, panel_columns);
    for (int64_t first = 0; first < all; first += panels_a_block_) {
      const int64_t count = std::min(panels_a_block_, all - first);
      parallel_for(count, [&](int64_t panel) { pack_panel(first + panel, depth, panels_ + panel * steps_of(depth.size) * step_elements); });
      parallel_blocks(rows.size, rows_a_task(rows.size), [&](int64_t begin, int64_t end) {
        bf16* near = chunks_ + thread_index() * chunk_stride_;
        const Part part{rows.begin + begin, end - begin};
        const Laid a{near, blocks_of(part.size, block_rows), steps_of(depth.size)};
        for (int64_t block = 0; block < a.blocks; ++block) pack_block(a, part, depth, block, near);
        const Session session;
        for (int64_t panel = 0; panel < count; ++panel) {
          const int64_t column = (first + panel) * panel_columns;
          const PanelThere there{panels_ + panel * a.steps * step_elements};
          multiply_panel(a, part.size, there, std::min(panel_columns, shape_.n - column), Target<C>{target.c + begin * target.ldc + column, target.ldc, target.into});
        }
      });
    }
  }

  // As many as stay near, and as keep all threads busy to the end.
  int64_t rows_a_task(int64_t rows) const {
    const int64_t turns = blocks_of(rows, chunk_blocks_ * block_rows * thread_count());
    return round_up(blocks_of(rows, turns * thread_count()), block_rows);
  }

  void pack_block(const Laid& a, Part rows, Part depth, int64_t block, bf16* to) const {
    const int64_t row = rows.begin + block * block_rows, count = std::min(block_rows, rows.size - block * block_rows);
    for (int64_t first = 0; first < a.steps; first += near_steps) {
      const int64_t steps = std::min(near_steps, a.steps - first), begin = depth.begin + first * step_values;
      const int64_t size = std::min(steps * step_values, depth.begin + depth.size - begin);
      bf16* there = to + a.offset(block, first, steps);
      if (shape_.a == Layout::normal) pack_rows(a_ + row * shape_.lda + begin, shape_.lda, count, size, there);
      else pack_turned_rows(a_ + begin * shape_.lda + row, shape_.lda, count, size, there);
    }
  }

  void pack_panel(int64_t panel, Part depth, bf16* to) const {
    const int64_t column = panel * panel_columns;
    pack_columns_of_b(column, std::min(panel_columns, shape_.n - column), depth, to, column + panel_columns < shape_.n);
  }

  void pack_columns_of_b(int64_t column, int64_t columns, Part depth, bf16* to, bool more) const {
    const bf16* from = of_b(column, depth);
    Ahead ahead = more ? Ahead(from + panel_columns * shape_.ldb, shape_.ldb * element_bytes, depth.size * element_bytes, panel_columns) : Ahead();
    if (shape_.b == Layout::transposed) pack_columns(from, shape_.ldb, columns, depth.size, to, ahead);
    else pack_rows_of_columns(from, shape_.ldb, columns, depth.size, to);
  }

  const bf16* of_b(int64_t column, Part depth) const {
    return shape_.b == Layout::transposed ? b_ + column * shape_.ldb + depth.begin : b_ + depth.begin * shape_.ldb + column;
  }

  const bf16* whole_panel(int64_t panel, Part depth, int64_t panels) const { return packed_panel(whole_, panel, panels, depth); }

  const GemmShape shape_;
  const bf16* a_;
  const bf16* b_;
  const bf16* whole_ = nullptr;
  bf16* chunks_ = nullptr;
  bf16* panels_ = nullptr;
  int64_t chunk_blocks_ = 0, chunk_elements_ = 0, chunk_stride_ = 0, panels_a_block_ = 0;
};

template <typename C>
Status product_of(const GemmShape& shape, const bf16* a, const bf16* b, C* c) {
  Product product(shape, a, b);
  return multiply_deep(product, shape, c);
}

template <typename C>
Status product_of(const GemmShape& shape, const bf16* a, Packed b, C* c) {
  if (shape.m <= block_rows) {
    FewRows product(shape, a, b.data);
    return multiply_deep(product, shape, c);
  }
  Product product(shape, a, b);
  return multiply_deep(product, shape, c);
}

template <typename P>
Status gated_product(P&& product, const GemmShape& shape, bf16* c) {
  LIMBECK_TRY(product.prepare());
  product.add_block({0, shape.m}, {0, shape.k}, Into::overwrite, reinterpret_cast<Gated*>(c), shape.ldc);
  return fine();
}

}  // namespace

Status product(const GemmShape& shape, const bf16* a, const bf16* b, float* c) { return product_of(shape, a, b, c); }
Status product(const GemmShape& shape, const bf16* a, const bf16* b, bf16* c) { return product_of(shape, a, b, c); }
Status product(const GemmShape& shape, const bf16* a, Packed b, float* c) { return product_of(shape, a, b, c); }
Status product(const GemmShape& shape, const bf16* a, Packed b, bf16* c) { return product_of(shape, a, b, c); }

Status product(const GemmShape& shape, const bf16* a, PackedGates b, bf16* c) {
  if (shape.m <= block_rows) return gated_product(FewRows(shape, a, b.data), shape, c);
  return gated_product(Product(shape, a, Packed{b.data}), shape, c);
}

int64_t packed_elements(int64_t n, int64_t k) { return round_up(n, panel_columns) * round_up(k, step_values); }

int64_t packed_gates_elements(int64_t n, int64_t k) { return k <= deepest ? round_up(n, tile_columns) * 2 * round_up(k, step_values) : 0; }

void pack_gates(const bf16* b, int64_t ldb, int64_t n, int64_t k, bf16* to) {
  parallel_for(blocks_of(n, tile_columns), [&](int64_t panel) {
    const int64_t column = panel * tile_columns;
    pack_two_columns(b + column * ldb, b + (n + column) * ldb, ldb, std::min(tile_columns, n - column), k, to + panel * steps_of(k) * step_elements);
  });
}

void pack_whole(const bf16* b, int64_t ldb, int64_t n, int64_t k, bf16* to) {
  each_part(k, deepest, [&](Part depth) {
    bf16* part = to + depth.begin * round_up(n, panel_columns);
    parallel_for(blocks_of(n, panel_columns), [&](int64_t panel) {
      const int64_t column = panel * panel_columns;
      Ahead none;
      pack_columns(b + column * ldb + depth.begin, ldb, std::min(panel_columns, n - column), depth.size, part + panel * steps_of(depth.size) * step_elements, none);
    });
  });
}

}  // namespace limbeck::amx

#endif
