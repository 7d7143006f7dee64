#include "core/widened_gemm.h"

#include <dnnl.h>
#include <algorithm>
#include <vector>
#include "core/parallel.h"

namespace limbeck {

namespace {

constexpr int64_t block_extent = 1024;  // a block is at most 1024 x 1024 float32, 4 MiB
constexpr int64_t row_block = 16;

// A part of one axis.
struct Part {
  int64_t begin, size;
};

struct Window {
  Part rows, columns;
};

struct Matrix {
  const bf16* data;
  int64_t leading;
  Layout layout;
};

struct Target {
  float* data;
  int64_t leading;
  float beta;  // what is kept of the target: 0 or 1
};

// Memory that grows to the largest request and stays: fresh pages for every product would cost more than small products do.
class Scratch {
 public:
  float* at_least(int64_t elements) {
    if (static_cast<int64_t>(memory_.size()) < elements) memory_.resize(static_cast<size_t>(elements));
    return memory_.data();
  }

 private:
  std::vector<float> memory_;
};

struct Widened {
  const float* data;
  int64_t leading;
};

// Copies a window of a matrix in its stored order.
Widened widen(const Matrix& matrix, Window window, Scratch& scratch) {
  if (matrix.layout == Layout::transposed) std::swap(window.rows, window.columns);
  const int64_t columns = window.columns.size;
  float* target = scratch.at_least(window.rows.size * columns);
  parallel_blocks(window.rows.size, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const bf16* source = matrix.data + (window.rows.begin + row) * matrix.leading + window.columns.begin;
      for (int64_t column = 0; column < columns; ++column) target[row * columns + column] = to_float(source[column]);
    }
  });
  return {target, columns};
}

Part part_at(int64_t begin, int64_t extent) { return {begin, std::min(block_extent, extent - begin)}; }

char transposition(const Matrix& matrix) { return matrix.layout == Layout::normal ? 'N' : 'T'; }

class WidenedProduct {
 public:
  WidenedProduct(const GemmShape& shape, const bf16* a, const bf16* b) : shape_(shape), a_{a, shape.lda, shape.a}, b_{b, shape.ldb, shape.b} {}

  // target = beta target + A[rows, all] B[all, columns]
  Status run(const Window& window, Target target) const {
    static Scratch a_scratch, b_scratch;
    for (int64_t k = 0; k < shape_.k; k += block_extent) {
      const Part depth = part_at(k, shape_.k);
      const Widened a = widen(a_, {window.rows, depth}, a_scratch);
      const Widened b = widen(b_, {depth, window.columns}, b_scratch);
      const dnnl_status_t status = dnnl_sgemm(transposition(a_), transposition(b_), window.rows.size, window.columns.size, depth.size, 1.0f, a.data,
                                              a.leading, b.data, b.leading, target.beta, target.data, target.leading);
      if (status != dnnl_success) return refuse(status == dnnl_out_of_memory ? Code::out_of_memory : Code::unsupported, "oneDNN: sgemm failed");
      target.beta = 1;
    }
    return fine();
  }

 private:
  const GemmShape shape_;
  const Matrix a_, b_;
};

template <typename Body>  // Status body(const Window&)
Status each_window(const GemmShape& shape, const Body& body) {
  for (int64_t m = 0; m < shape.m; m += block_extent) {
    for (int64_t n = 0; n < shape.n; n += block_extent) LIMBECK_TRY(body(Window{part_at(m, shape.m), part_at(n, shape.n)}));
  }
  return fine();
}

void round_window(const float* block, const Window& window, const GemmShape& shape, bf16* c) {
  const int64_t columns = window.columns.size;
  parallel_blocks(window.rows.size, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      bf16* target = c + (window.rows.begin + row) * shape.ldc + window.columns.begin;
      for (int64_t column = 0; column < columns; ++column) target[column] = to_bf16(block[row * columns + column]);
    }
  });
}

}  // namespace

Status widened_gemm(const GemmShape& shape, const bf16* a, const bf16* b, float* c) {
  const WidenedProduct product(shape, a, b);
  return each_window(shape, [&](const Window& window) {
    return product.run(window, {c + window.rows.begin * shape.ldc + window.columns.begin, shape.ldc, shape.accumulate ? 1.0f : 0.0f});
  });
}

Status widened_gemm(const GemmShape& shape, const bf16* a, const bf16* b, bf16* c) {
  static Scratch c_scratch;
  const WidenedProduct product(shape, a, b);
  return each_window(shape, [&](const Window& window) {
    float* block = c_scratch.at_least(window.rows.size * window.columns.size);
    LIMBECK_TRY(product.run(window, {block, window.columns.size, 0.0f}));
    round_window(block, window, shape, c);
    return fine();
  });
}

}  // namespace limbeck
