// rope.h -- finishes the fused q|k|v rows that come out of the product with their stacked weights: bias, norm of each q and k head, rotary position
//   embedding. Bias (Qwen2) and norms (Qwen3) are optional; the rotation is half-split, as Hugging Face has it (Su et al. 2021; Zhang and Sennrich 2019).
//   N = tokens, Hq and Hkv = query and key heads, K = head width (even), C = (Hq + 2 Hkv) K columns a row: q heads, k heads, v heads.
//   forward, of row n and each head of K columns:  x = qkv + bias;  v heads: out = x.  q and k heads, w the norm weight of their kind:
//     r = 1 / sqrt(mean_i x_i^2 + eps);  z_i = x_i r w_i  (without norms z = x);  with a = positions_N[n] inv_freq[i], i < K/2:
//     (out_i, out_{i+K/2}) = (z_i cos a - z_{i+K/2} sin a,  z_{i+K/2} cos a + z_i sin a)
//   backward, g = gradient of out:  v heads: dx = g.  q and k heads: u = g turned by -a;  without norms dx = u, with them
//     dx_i = r (w_i u_i - x_i r^2 / K sum_j w_j u_j x_j);  dw_i += sum over rows and heads of the kind of u_i x_i r
//     dqkv = dx;  dbias += sum_n dx
//   The backward of the norms needs the rows as the forward found them; r is computed again, and nothing else is kept. Without norms the backward needs
//   no rows, so the forward may overwrite its own.
//   Angles are reduced in float64, so long contexts lose nothing; the rest is float32. Bits do not depend on threads.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct RopeShape {
  int64_t N, heads, kv_heads, K;
  int64_t columns() const { return (heads + 2 * kv_heads) * K; }
};

struct Rotary {
  const int32_t* positions_N;
  const float* inv_freq;  // [K/2]
};

struct HeadNorms {
  const float* q_K;  // both null: no norms
  const float* k_K;
  float eps;  // >= 0
};

struct RopeForward {
  Rotary rotary;
  const bf16* qkv_NC;
  const float* bias_C;  // may be null
  HeadNorms norms;
  bf16* out_NC;  // overwritten; may be qkv_NC itself
};

struct RopeBackward {
  Rotary rotary;
  const bf16* qkv_NC;   // as the forward found it; null without norms
  const float* bias_C;  // as in the forward
  HeadNorms norms;
  bf16* dqkv_NC;     // the gradient of out becomes that of qkv, in place
  float* dbias_C;    // ADDED to; null without bias
  float* dq_norm_K;  // ADDED to; null without norms
  float* dk_norm_K;  // ADDED to; null without norms
};

namespace cpu {
Status rope_forward(const RopeShape&, const RopeForward&);
Status rope_backward(const RopeShape&, const RopeBackward&);
}  // namespace cpu

}  // namespace limbeck
