// score_head.h -- what a model itself says at given rows: its top k, the label and everything else.  R = rows, V = vocabulary, D = model width.
//   z = hidden . weight^T,  log p_j = z_j - lse,  lse = log sum_v exp(z_v)
//   tail = sum of p over the ids outside top k and label, summed over those ids and never taken as 1 minus the rest
//   Logits as in head_logits.h; no R x V tensor exists.
#pragma once
#include <cstdint>
#include "core/status.h"
#include "ops/head_logits.h"

namespace limbeck {

struct ScoreRows {
  int64_t k;                // [1, V]
  const int32_t* labels_R;  // [0, V)
};

struct ScoreOutputs {          // all overwritten
  int32_t* top_ids_RK;         // best first; among equal logits the smaller id first
  float* top_log_probs_RK;
  float* label_log_probs_R;
  float* tail_R;
};

namespace cpu {
Status score_head(const HeadMatrices&, const ScoreRows&, const ScoreOutputs&);
}
}  // namespace limbeck
