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

// `from` and `to` may be the same.
template <typename From, typename To>
void turn_head(int64_t half, const float* directions_K, const From* from_K, To* to_K) {
  for_lanes(half, [&](int64_t i, int64_t count) {
    const Lanes cosine = load_first(directions_K + i, count);
    const Lanes sine = load_first(directions_K + half + i, count);
    const Lanes low = load_first(from_K + i, count);
    const Lanes high = load_first(from_K + half + i, count);
    store_first(to_K + i, count, low * cosine - high * sine);
    store_first(to_K + half + i, count, high * cosine + low * sine);
  });
}

// to = from + bias, or from alone where bias is null; answers the sum of squares.
template <typename To>
float add_bias(int64_t K, const bf16* from_K, const float* bias_K, To* to_K) {
  Lanes squares = splat(0);
  for_lanes(K, [&](int64_t i, int64_t count) {
    Lanes x = load_first(from_K + i, count);
    if (bias_K) x = x + load_first(bias_K + i, count);
    store_first(to_K + i, count, x);
    squares = multiply_add(x, x, squares);
  });
  return reduce_add(squares);
}

float reciprocal_root(float squares, int64_t K, float eps) { return 1.0f / std::sqrt(squares / static_cast<float>(K) + eps); }

void scale(int64_t K, float rstd, const float* weight_K, float* x_K) {
  const Lanes r = splat(rstd);
  for_lanes(K, [&](int64_t i, int64_t count) { store_first(x_K + i, count, load_first(x_K + i, count) * r * load_first(weight_K + i, count)); });
}

// The weight of the norm of a q or k head.
const float* norm_weight(const RopeShape& shape, const HeadNorms& norms, int64_t head) { return head < shape.heads ? norms.q_K : norms.k_K; }

// `scratch_2K` holds the row's directions, then one head.
void forward_row(const RopeShape& shape, const RopeForward& io, int64_t n, float* scratch_2K) {
  const int64_t K = shape.K;
  const int64_t rotated = shape.heads + shape.kv_heads;
  float* x_K = scratch_2K + K;
  aim(K / 2, io.rotary, n, Sense::forward, scratch_2K);
  for (int64_t head = 0; head < rotated + shape.kv_heads; ++head) {
    const bf16* from_K = io.qkv_NC + n * shape.columns() + head * K;
    const float* bias_K = io.bias_C ? io.bias_C + head * K : nullptr;
    bf16* out_K = io.out_NC + n * shape.columns() + head * K;
    if (head >= rotated) {
      if (bias_K || from_K != out_K) add_bias(K, from_K, bias_K, out_K);
      continue;
    }
    const float squares = add_bias(K, from_K, bias_K, x_K);
    const float* weight_K = norm_weight(shape, io.norms, head);
    if (weight_K) scale(K, reciprocal_root(squares, K, io.norms.eps), weight_K, x_K);
    turn_head(K / 2, scratch_2K, x_K, out_K);
  }
}

// Gradients of bias and norm weights over one block of rows: [C] and [2K], q before k.
struct Partial {
  float* dbias_C;
  float* dnorms_2K;
};

float weighted_dot(int64_t K, const float* u_K, const float* weight_K, const float* x_K) {
  Lanes sum = splat(0);
  for_lanes(K, [&](int64_t i, int64_t count) {
    sum = multiply_add(load_first(u_K + i, count) * load_first(weight_K + i, count), load_first(x_K + i, count), sum);
  });
  return reduce_add(sum);
}

struct NormedHead {
  const float* x_K;
  const float* weight_K;
  float rstd;
};

// u becomes the gradient of x; the weight's is added to.
void through_norm(int64_t K, const NormedHead& head, float* u_K, float* dweight_K) {
  const float r = head.rstd;
  const Lanes rstd = splat(r);
  const Lanes pull = splat(-weighted_dot(K, u_K, head.weight_K, head.x_K) * r * r * r / static_cast<float>(K));
  for_lanes(K, [&](int64_t i, int64_t count) {
    const Lanes x = load_first(head.x_K + i, count);
    const Lanes scaled = load_first(u_K + i, count) * rstd;
    store_first(dweight_K + i, count, multiply_add(scaled, x, load_first(dweight_K + i, count)));
    store_first(u_K + i, count, multiply_add(x, pull, scaled * load_first(head.weight_K + i, count)));
  });
}

// Rounds a head's gradient and adds it, unrounded, to that of the bias (null: not wanted).
template <typename From>
void finish_gradient(int64_t K, const From* u_K, bf16* dqkv_K, float* dbias_K) {
  for_lanes(K, [&](int64_t i, int64_t count) {
    const Lanes u = load_first(u_K + i, count);
    store_first(dqkv_K + i, count, u);
    if (dbias_K) store_first(dbias_K + i, count, load_first(dbias_K + i, count) + u);
  });
}

// `scratch_3K` holds the row's directions, then the gradient of one head, then the head.
void backward_row(const RopeShape& shape, const RopeBackward& io, int64_t n, const Partial& partial, float* scratch_3K) {
  const int64_t K = shape.K;
  const int64_t rotated = shape.heads + shape.kv_heads;
  float* u_K = scratch_3K + K;
  float* x_K = scratch_3K + 2 * K;
  aim(K / 2, io.rotary, n, Sense::backward, scratch_3K);
  for (int64_t head = 0; head < rotated + shape.kv_heads; ++head) {
    const int64_t at = n * shape.columns() + head * K;
    float* dbias_K = io.dbias_C ? partial.dbias_C + head * K : nullptr;
    if (head >= rotated) {
      if (dbias_K) finish_gradient(K, io.dqkv_NC + at, io.dqkv_NC + at, dbias_K);
      continue;
    }
    turn_head(K / 2, scratch_3K, io.dqkv_NC + at, u_K);
    if (const float* weight_K = norm_weight(shape, io.norms, head)) {
      const float squares = add_bias(K, io.qkv_NC + at, io.bias_C ? io.bias_C + head * K : nullptr, x_K);
      const NormedHead normed{x_K, weight_K, reciprocal_root(squares, K, io.norms.eps)};
      through_norm(K, normed, u_K, head < shape.heads ? partial.dnorms_2K : partial.dnorms_2K + K);
    }
    finish_gradient(K, u_K, io.dqkv_NC + at, dbias_K);
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
  const int64_t stride = 2 * shape.K;
  void* scratch = nullptr;
  LIMBECK_TRY(workspace(static_cast<size_t>(blocks * stride) * sizeof(float), &scratch));
  float* scratch_B2K = static_cast<float*>(scratch);
  parallel_blocks(shape.N, forward_rows, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) forward_row(shape, io, n, scratch_B2K + begin / forward_rows * stride);
  });
  return fine();
}

Status rope_backward(const RopeShape& shape, const RopeBackward& io) {
  const int64_t K = shape.K;
  const int64_t C = shape.columns();
  const int64_t blocks = (shape.N + backward_rows - 1) / backward_rows;
  const int64_t stride = C + 5 * K;  // a block's sums of bias and norms, then 3K of scratch
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
