// attention.h -- scaled dot-product attention (Vaswani et al. 2017) with grouped heads (Ainslie et al. 2023), never storing a score matrix.
//   N = tokens of all sequences laid end to end; Hq query heads, Hkv key and value heads, query head h reads kv head h / (Hq / Hkv); K = head width.
//   A row of qkv holds [q heads | k heads | v heads], C = (Hq + 2 Hkv) K columns; positions are already rotated into q and k.
//     s_ij = q_i . k_j / sqrt(K)   for j <= i inside one sequence         p_ij = exp(s_ij - lse_i),   lse_i = log sum_j exp(s_ij)
//     out_i = sum_j p_ij v_j
//   Backward, with delta_i = out_i . dout_i (Dao et al. 2022, algorithm 4):
//     dv_j = sum_i p_ij dout_i      ds_ij = p_ij (dout_i . v_j - delta_i) / sqrt(K)      dq_i = sum_j ds_ij k_j      dk_j = sum_i ds_ij q_i
//   dk and dv are summed over the group's query heads. Arithmetic is float32 and results are rounded once at the end; the backward rounds p and
//   ds to bf16 on CPUs that multiply bf16, as flash attention does (relative L2 of the gradient 2.9e-3 instead of 2.3e-3). Tile units multiply v by p as the
//   sum of two bf16, which is off by 2^-17.
//   Bits depend neither on the number of threads nor on what else lies in the batch.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"
#include "ops/kv_cache.h"

namespace limbeck {

struct HeadShape {
  int64_t Hq, Hkv, K;  // each >= 1; Hq a multiple of Hkv
};

struct AttentionShape {
  int64_t N;          // >= 0
  int64_t sequences;  // S1 - 1, >= 0
  HeadShape heads;
};

struct AttentionForward {
  const bf16* qkv_NC;
  const int32_t* cu_seqlens_S1;  // ascending from 0 to N
  bf16* out_NHK;                 // [N, Hq K], overwritten
  float* lse_NH;                 // [N, Hq], overwritten; natural log
};

struct AttentionBackward {
  const bf16* dout_NHK;
  const bf16* qkv_NC;
  const bf16* out_NHK;  // out and lse as the forward left them
  const float* lse_NH;
  const int32_t* cu_seqlens_S1;
  bf16* dqkv_NC;  // overwritten; none of the inputs
};

struct DecodeShape {
  int64_t N;
  HeadShape heads;  // K even
  CacheLayout cache;
};

struct AttentionDecode {
  const bf16* qkv_NC;          // only the q columns are read
  const int32_t* slots_N;
  const int32_t* positions_N;  // row n attends to positions 0 ... positions_N[n] of its slot
  const bf16* k_cache;
  const bf16* v_cache;
  bf16* out_NHK;  // overwritten
};

namespace cpu {

Status attention_forward(const AttentionShape&, const AttentionForward&);
Status attention_backward(const AttentionShape&, const AttentionBackward&);
Status attention_decode(const DecodeShape&, const AttentionDecode&);

}  // namespace cpu
}  // namespace limbeck
