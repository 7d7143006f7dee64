#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/workspace.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t forward_rows = 8;
constexpr int64_t backward_rows = 32;  // one partial sum of dweight each
constexpr int64_t column_block = 64;

// Adds delta to the residual row; answers the sum of squares.
template <typename Delta>
float add_and_square(const RmsNormForward<Delta>& io, int64_t n, int64_t D) {
  float* x = io.residual_ND + n * D;
  const Delta* delta = io.delta_ND ? io.delta_ND + n * D : nullptr;
  Lanes squares = splat(0);
  for_lanes(D, [&](int64_t d, int64_t count) {
    Lanes value = load_first(x + d, count);
    if (delta) {
      value = value + load_first(delta + d, count);
      store_first(x + d, count, value);
    }
    squares = multiply_add(value, value, squares);
  });
  return reduce_add(squares);
}

template <typename Delta>
void normalise(const RmsNormForward<Delta>& io, int64_t n, int64_t D) {
  const float* x = io.residual_ND + n * D;
  const Lanes rstd = splat(io.rstd_N[n]);
  for_lanes(D, [&](int64_t d, int64_t count) {
    store_first(io.out_ND + n * D + d, count, load_first(x + d, count) * rstd * load_first(io.weight_D + d, count));
  });
}

float weighted_dot(const RmsNormBackward& io, int64_t n, int64_t D) {
  Lanes sum = splat(0);
  for_lanes(D, [&](int64_t d, int64_t count) {
    const Lanes weighted = load_first(io.dout_ND + n * D + d, count) * load_first(io.weight_D + d, count);
    sum = multiply_add(weighted, load_first(io.residual_ND + n * D + d, count), sum);
  });
  return reduce_add(sum);
}

struct Row {
  int64_t n, D;
  float* dweight_D;  // the partial sum of the row's block
};

void backward_row(const RmsNormBackward& io, const Row& row) {
  const int64_t n = row.n;
  const int64_t D = row.D;
  float* dweight = row.dweight_D;
  const float r = io.rstd_N[n];
  const Lanes rstd = splat(r);
  const Lanes pull = splat(-weighted_dot(io, n, D) * r * r * r / static_cast<float>(D));
  for_lanes(D, [&](int64_t d, int64_t count) {
    const Lanes x = load_first(io.residual_ND + n * D + d, count);
    const Lanes scaled = load_first(io.dout_ND + n * D + d, count) * rstd;
    const Lanes through = multiply_add(x, pull, scaled * load_first(io.weight_D + d, count));
    const Lanes dx = load_first(io.dresidual_ND + n * D + d, count) + through;
    store_first(io.dresidual_ND + n * D + d, count, dx);
    if (io.ddelta_ND) store_first(io.ddelta_ND + n * D + d, count, dx);
    store_first(dweight + d, count, multiply_add(scaled, x, load_first(dweight + d, count)));
  });
}

template <typename Delta>
Status forward(const RmsNormShape& shape, const RmsNormForward<Delta>& io) {
  parallel_blocks(shape.N, forward_rows, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float mean = add_and_square(io, n, shape.D) / static_cast<float>(shape.D);
      io.rstd_N[n] = 1.0f / std::sqrt(mean + io.eps);
      normalise(io, n, shape.D);
    }
  });
  return fine();
}

}  // namespace

Status rms_norm_forward(const RmsNormShape& shape, const RmsNormForward<bf16>& io) { return forward(shape, io); }

Status rms_norm_forward(const RmsNormShape& shape, const RmsNormForward<float>& io) { return forward(shape, io); }

Status rms_norm_backward(const RmsNormShape& shape, const RmsNormBackward& io) {
  const int64_t D = shape.D;
  const int64_t blocks = (shape.N + backward_rows - 1) / backward_rows;
  void* scratch = nullptr;
  LIMBECK_TRY(workspace(static_cast<size_t>(blocks * D) * sizeof(float), &scratch));
  float* partial_BD = static_cast<float*>(scratch);
  parallel_blocks(shape.N, backward_rows, [&](int64_t begin, int64_t end) {
    float* partial_D = partial_BD + begin / backward_rows * D;
    std::fill(partial_D, partial_D + D, 0.0f);
    for (int64_t n = begin; n < end; ++n) backward_row(io, {n, D, partial_D});
  });
  parallel_blocks(D, column_block, [&](int64_t begin, int64_t end) {
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t d = begin; d < end; ++d) io.dweight_D[d] += partial_BD[block * D + d];
    }
  });
  return fine();
}

}  // namespace limbeck::cpu
