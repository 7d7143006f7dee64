// distill_head.h -- language-model head, softmax, divergence from the teacher and its gradient, in one pass over chunks of rows.
//   R = rows with loss, V = vocabulary, D = model width, E = support entries of all rows, S = the support of one row.
//   z = hidden . weight^T,  p = softmax(z),  q = the teacher on S and q_T its tail (normalised: sum_S q + q_T = 1, q_T >= 1e-6).
//   p_T = sum of p over the ids off S, summed over those ids, floored at 1e-6 like q_T;  r_j = log(p_j / q_j),  r_T = log(p_T / q_T).
//     hard          L = -log p_label                               dz_j = p_j - [j = label]
//     forward_kl    L = sum_S q (log q - log p) + q_T (log q_T - log p_T)
//                     p_T > floor:  dz_j = Q p_j - q_j on S,  p_j (Q - q_T / p_T) off S,  Q = sum_S q + q_T (1 up to rounding)
//                     floored:      dz_j = Q_S p_j - [j in S] q_j,  Q_S = sum_S q
//     reverse_kl    L = sum_S p r + p_T r_T
//                     p_T > floor:  dz_j = p_j (r_j - L),  r_j = r_T off S
//                     floored:      dz_j = p_j ([j in S] (r_j + 1) - A),  A = sum_S p (r + 1)
//   A floored tail is a constant: its own term has no gradient, the support's terms keep theirs. Losses A and C of the performance reference, section 3.
//   Metrics are taken at temperature 1, unweighted, both KLs with the floored tail; student entropy over all V, teacher entropy over S and tail;
//   agreement is 1 where the student's most probable id (the smaller among equals) is the support's.
//   Logits as in head_logits.h, one chunk at a time; dz overwrites them as bf16. Sums over a row's V run in float64 over blocks, so that the loss of a
//   student against its own scores is a rounding error (<= 1e-6 nats). Same shapes and threads: same bits.
#pragma once
#include <cstdint>
#include "core/status.h"
#include "ops/head_logits.h"

namespace limbeck {

enum class Loss { hard = 0, forward_kl = 1, reverse_kl = 2 };

constexpr double tail_floor = 1e-6;
constexpr int64_t row_metrics = 8;  // loss, forwardKl, reverseKl, studentEntropy, teacherEntropy, supportMass, agreement, labelLogProb

struct DistillTargets {            // all null for `hard` without a teacher: what needs one is NaN then
  int64_t E = 0;
  const int32_t* offsets_R1 = nullptr;  // from 0 to E, each row at least one entry
  const int32_t* ids_E = nullptr;       // [0, V), distinct within a row
  const float* log_probs_E = nullptr;
  const float* tail_R = nullptr;        // > 0
};

struct DistillRows {
  Loss loss;
  const int32_t* labels_R;  // [0, V)
  const float* scale_R;     // multiplies the gradient only
  DistillTargets targets;
};

struct DistillOutputs {
  float* metrics_RM;  // overwritten
  bf16* dhidden_RD;   // overwritten: gradient of sum(scale x loss); null: no gradients
  float* dweight_VD;  // ADDED to; null exactly when dhidden_RD is
};

namespace cpu {
Status distill_head(const HeadMatrices&, const DistillRows&, const DistillOutputs&);
}
}  // namespace limbeck
