// deep_product.h -- products whose k is cut into blocks: the blocks' sums are added in order, in float32; what was in C comes first.
//   A Product has `k_block`, `Status prepare()`, which takes all memory that it needs, and `add_block(Part rows, Part depth, Into, c, ldc)`, which brings the
//   sums of one block of k for some rows, from C's first column on, to memory that starts at their first row; into bf16 it always overwrites.
#pragma once
#include <algorithm>
#include <cstdint>
#include "core/gemm.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/scratch.h"
#include "core/tile_gemm.h"

namespace limbeck {

struct Part {
  int64_t begin, size;
};

template <typename Body>  // body(Part)
void each_part(int64_t count, int64_t block, const Body& body) {
  for (int64_t begin = 0; begin < count; begin += block) body(Part{begin, std::min(block, count - begin)});
}

inline void round_rows(const float* sums, int64_t rows, const GemmShape& shape, bf16* c) {
  constexpr int64_t rows_a_task = 8;
  parallel_blocks(rows, rows_a_task, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from = sums + row * shape.n;
      bf16* to = c + row * shape.ldc;
      for_lanes(shape.n, [&](int64_t column, int64_t count) { store_first(to + column, count, load_first(from + column, count)); });
    }
  });
}

template <typename Product>
Status multiply_deep(Product& product, const GemmShape& shape, float* c) {
  LIMBECK_TRY(product.prepare());
  each_part(shape.k, Product::k_block, [&](Part depth) {
    product.add_block({0, shape.m}, depth, shape.accumulate || depth.begin > 0 ? Into::add : Into::overwrite, c, shape.ldc);
  });
  return fine();
}

template <typename Product>
Status multiply_deep(Product& product, const GemmShape& shape, bf16* c) {
  constexpr int64_t summed_rows = 1024;
  static Scratch scratch;
  LIMBECK_TRY(product.prepare());
  if (shape.k <= Product::k_block) {
    product.add_block({0, shape.m}, {0, shape.k}, Into::overwrite, c, shape.ldc);
    return fine();
  }
  const int64_t bytes = std::min(summed_rows, shape.m) * shape.n * static_cast<int64_t>(sizeof(float));
  float* sums = static_cast<float*>(scratch.at_least(bytes));
  if (!sums) return no_memory(bytes);
  each_part(shape.m, summed_rows, [&](Part rows) {
    each_part(shape.k, Product::k_block, [&](Part depth) { product.add_block(rows, depth, depth.begin > 0 ? Into::add : Into::overwrite, sums, shape.n); });
    round_rows(sums, rows.size, shape, c + rows.begin * shape.ldc);
  });
  return fine();
}

}  // namespace limbeck
