#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/workspace.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t forward_rows = 8;
constexpr int64_t backward_rows = 32;  // one partial sum of the weights' gradients each
constexpr int64_t column_block = 64;

struct Direction {
  float cosine, sine;
};

// Plain selections, so that a loop over it becomes vector instructions. Polynomials: Cephes sinf and cosf on [-pi/4, pi/4], within 1e-7.
inline Direction direction(double angle) {
  constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number
  const double quarters = angle * 0.63661977236758134;  // angle / (pi/2)
  const double whole = (quarters + rounder) - rounder;
  const float r = static_cast<float>((quarters - whole) * 1.5707963267948966);
  const float turn = static_cast<float>(whole - 4.0 * ((whole * 0.25 + rounder) - rounder));  // -2, -1, 0, 1 or 2
  const float z = r * r;
  const float sine = r + r * z * (-1.6666654611e-1f + z * (8.3321608736e-3f - z * 1.9515295891e-4f));
  const float cosine = 1.0f - 0.5f * z + z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
  const bool odd = turn == 1.0f || turn == -1.0f;
  const float sine_sign = turn == 2.0f || turn == -2.0f || turn == -1.0f ? -1.0f : 1.0f;
  const float cosine_sign = turn == 2.0f || turn == -2.0f || turn == 1.0f ? -1.0f : 1.0f;
  return {cosine_sign * (odd ? sine : cosine), sine_sign * (odd ? cosine : sine)};
}

enum class Sense { forward, backward };

// Fills a row of directions: K/2 cosines, then K/2 sines.
void aim(int64_t half, const Rotary& rotary, int64_t n, Sense sense, float* directions_K) {
  const float sign = sense == Sense::forward ? 1.0f : -1.0f;
  const double position = rotary.positions_N[n];
  for (int64_t i = 0; i < half; ++i) {
    const Direction d = direction(position * static_cast<double>(rotary.inv_freq[i]));
    directions_K[i] = d.cosine;
    directions_K[half + i] = sign * d.sine;
  }
}

// Turns a head of which load(i, count) answers lanes and store(i, count, lanes) takes them; a lane is stored after its pair was read.
template <typename Load, typename Store>
void turn_head(int64_t half, const float* directions_K, const Load& load, const Store& store) {
  for_lanes(half, [&](int64_t i, int64_t count) {
    const Lanes cosine = load_first(directions_K + i, count);
    const Lanes sine = load_first(directions_K + half + i, count);
    const Lanes low = load(i, count);
    const Lanes high = load(half + i, count);
    store(i, count, low * cosine - high * sine);
    store(half + i, count, high * cosine + low * sine);
  });
}

// x = qkv + bias of one head.
struct Biased {
  const bf16* qkv_K;
  const float* bias_K;  // may be null
  Lanes operator()(int64_t i, int64_t count) const {
    const Lanes x = load_first(qkv_K + i, count);
    return bias_K ? x + load_first(bias_K + i, count) : x;
  }
};

Biased biased(const RopeShape& shape, const bf16* qkv_NC, const float* bias_C, int64_t n, int64_t head) {
  return {qkv_NC + n * shape.columns() + head * shape.K, bias_C ? bias_C + head * shape.K : nullptr};
}

// The weight of the norm of a q or k head; null without norms.
const float* norm_weight(const RopeShape& shape, const HeadNorms& norms, int64_t head) { return head < shape.heads ? norms.q_K : norms.k_K; }

// Reciprocal roots of a row's q and k heads, all of them before their use: the latency of one root then hides behind the next head.
void reciprocal_roots(const RopeShape& shape, const bf16* qkv_NC, const float* bias_C, float eps, int64_t n, float* rstd_H) {
  for (int64_t head = 0; head < shape.heads + shape.kv_heads; ++head) {
    const Biased x = biased(shape, qkv_NC, bias_C, n, head);
    Lanes squares = splat(0);
    for_lanes(shape.K, [&](int64_t i, int64_t count) { squares = multiply_add(x(i, count), x(i, count), squares); });
    rstd_H[head] = 1.0f / std::sqrt(reduce_add(squares) / static_cast<float>(shape.K) + eps);
  }
}

// `scratch` holds the row's directions [K], then the roots of its q and k heads.
void forward_row(const RopeShape& shape, const RopeForward& io, int64_t n, float* scratch) {
  const int64_t K = shape.K;
  const int64_t rotated = shape.heads + shape.kv_heads;
  float* rstd_H = scratch + K;
  aim(K / 2, io.rotary, n, Sense::forward, scratch);
  if (io.norms.q_K) reciprocal_roots(shape, io.qkv_NC, io.bias_C, io.norms.eps, n, rstd_H);
  for (int64_t head = 0; head < rotated + shape.kv_heads; ++head) {
    const Biased x = biased(shape, io.qkv_NC, io.bias_C, n, head);
    bf16* out_K = io.out_NC + n * shape.columns() + head * K;
    const auto store = [&](int64_t i, int64_t count, Lanes value) { store_first(out_K + i, count, value); };
    if (head >= rotated) {
      if (x.bias_K || x.qkv_K != out_K) for_lanes(K, [&](int64_t i, int64_t count) { store(i, count, x(i, count)); });
    } else if (const float* weight_K = norm_weight(shape, io.norms, head)) {
      const Lanes rstd = splat(rstd_H[head]);
      turn_head(K / 2, scratch, [&](int64_t i, int64_t count) { return x(i, count) * rstd * load_first(weight_K + i, count); }, store);
    } else {
      turn_head(K / 2, scratch, x, store);
    }
  }
}

// Gradients of bias and norm weights over one block of rows: [C] and [2K], q before k.
struct Partial {
  float* dbias_C;
  float* dnorms_2K;
};

// A head's gradient, rounded once, and added unrounded to that of its bias.
struct Finished {
  bf16* dqkv_K;
  float* dbias_K;  // null: not wanted
  void operator()(int64_t i, int64_t count, Lanes value) const {
    store_first(dqkv_K + i, count, value);
    if (dbias_K) store_first(dbias_K + i, count, load_first(dbias_K + i, count) + value);
  }
};

struct NormedHead {
  Biased x;
  const float* weight_K;
  float rstd;
};

// From the gradient u of the normalised head to that of the head; adds to the weight's.
void through_norm(int64_t K, const NormedHead& head, const float* u_K, float* dweight_K, const Finished& finish) {
  Lanes products = splat(0);
  for_lanes(K, [&](int64_t i, int64_t count) {
    products = multiply_add(load_first(u_K + i, count) * load_first(head.weight_K + i, count), head.x(i, count), products);
  });
  const float r = head.rstd;
  const Lanes rstd = splat(r);
  const Lanes pull = splat(-reduce_add(products) * r * r * r / static_cast<float>(K));
  for_lanes(K, [&](int64_t i, int64_t count) {
    const Lanes x = head.x(i, count);
    const Lanes scaled = load_first(u_K + i, count) * rstd;
    store_first(dweight_K + i, count, multiply_add(scaled, x, load_first(dweight_K + i, count)));
    finish(i, count, multiply_add(x, pull, scaled * load_first(head.weight_K + i, count)));
  });
}

// `scratch` holds the row's directions [K], the gradient of one head [K], then the roots of its q and k heads.
void backward_row(const RopeShape& shape, const RopeBackward& io, int64_t n, const Partial& partial, float* scratch) {
  const int64_t K = shape.K;
  const int64_t rotated = shape.heads + shape.kv_heads;
  float* u_K = scratch + K;
  float* rstd_H = scratch + 2 * K;
  aim(K / 2, io.rotary, n, Sense::backward, scratch);
  if (io.norms.q_K) reciprocal_roots(shape, io.qkv_NC, io.bias_C, io.norms.eps, n, rstd_H);
  for (int64_t head = 0; head < rotated + shape.kv_heads; ++head) {
    bf16* dqkv_K = io.dqkv_NC + n * shape.columns() + head * K;
    const Finished finish{dqkv_K, io.dbias_C ? partial.dbias_C + head * K : nullptr};
    const auto gradient = [&](int64_t i, int64_t count) { return load_first(dqkv_K + i, count); };
    if (head >= rotated) {
      if (finish.dbias_K) for_lanes(K, [&](int64_t i, int64_t count) { finish(i, count, gradient(i, count)); });
    } else if (const float* weight_K = norm_weight(shape, io.norms, head)) {
      turn_head(K / 2, scratch, gradient, [&](int64_t i, int64_t count, Lanes value) { store_first(u_K + i, count, value); });
      const NormedHead normed{biased(shape, io.qkv_NC, io.bias_C, n, head), weight_K, rstd_H[head]};
      through_norm(K, normed, u_K, partial.dnorms_2K + (head < shape.heads ? 0 : K), finish);
    } else {
      turn_head(K / 2, scratch, gradient, finish);
    }
  }
}

// Adds the blocks' partial sums, `stride` apart, to `sum`; a null sum is not wanted.
void add_partials(int64_t blocks, int64_t stride, int64_t width, const float* partials, float* sum) {
  if (!sum) return;
  parallel_blocks(width, column_block, [&](int64_t begin, int64_t end) {
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t c = begin; c < end; ++c) sum[c] += partials[block * stride + c];
    }
  });
}

}  // namespace

Status rope_forward(const RopeShape& shape, const RopeForward& io) {
  const int64_t blocks = (shape.N + forward_rows - 1) / forward_rows;
  const int64_t stride = round_to_lanes(shape.K + shape.heads + shape.kv_heads);
  void* scratch = nullptr;
  LIMBECK_TRY(workspace(static_cast<size_t>(blocks * stride) * sizeof(float), &scratch));
  float* rows = static_cast<float*>(scratch);
  parallel_blocks(shape.N, forward_rows, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) forward_row(shape, io, n, rows + begin / forward_rows * stride);
  });
  return fine();
}

Status rope_backward(const RopeShape& shape, const RopeBackward& io) {
  const int64_t K = shape.K;
  const int64_t C = shape.columns();
  const int64_t blocks = (shape.N + backward_rows - 1) / backward_rows;
  const int64_t stride = round_to_lanes(C + 4 * K + shape.heads + shape.kv_heads);  // a block's sums of bias and norms, then scratch of one row
  void* scratch = nullptr;
  LIMBECK_TRY(workspace(static_cast<size_t>(blocks * stride) * sizeof(float), &scratch));
  float* partials = static_cast<float*>(scratch);
  parallel_blocks(shape.N, backward_rows, [&](int64_t begin, int64_t end) {
    float* block = partials + begin / backward_rows * stride;
    std::fill(block, block + C + 2 * K, 0.0f);
    for (int64_t n = begin; n < end; ++n) backward_row(shape, io, n, {block, block + C}, block + C + 2 * K);
  });
  add_partials(blocks, stride, C, partials, io.dbias_C);
  add_partials(blocks, stride, K, partials + C, io.dq_norm_K);
  add_partials(blocks, stride, K, partials + C + K, io.dk_norm_K);
  return fine();
}

}  // namespace limbeck::cpu
