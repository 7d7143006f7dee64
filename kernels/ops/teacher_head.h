// teacher_head.h -- what a served model answers at given rows: its top k, the label and how it ranks, the log-sum-exp, and an id drawn by a given
//   number.  R = rows, V = vocabulary, D = model width.
//     z = hidden . weight^T,   lse = log sum_v exp(z_v),   rank = how many v have z_v >= z_label, the label included
//     drawn: the first id in ascending order at which the running sum of exp((z_v - max z) / temperature) exceeds `uniform` times the whole sum;
//     at temperature 0 the largest logit, among equals the smaller id
//   Logits as in head_logits.h; no R x V tensor exists. A row depends on nothing but itself, as far as the product does.
#pragma once
#include <cstdint>
#include "core/status.h"
#include "ops/head_logits.h"

namespace limbeck {

struct TeacherRows {
  int64_t k;                    // [1, V]
  const int32_t* labels_R;      // [0, V)
  const float* temperatures_R;  // finite, >= 0
  const float* uniforms_R;      // [0, 1]; 1, to which a number just below it may have been rounded, draws the last id with weight
};

struct TeacherOutputs {  // all overwritten
  int32_t* top_ids_RK;   // best first; among equal logits the smaller id first
  float* top_logits_RK;
  float* label_logits_R;
  int32_t* label_ranks_R;
  float* log_sum_exp_R;
  int32_t* drawn_ids_R;
  float* drawn_logits_R;
};

namespace cpu {
Status teacher_head(const HeadMatrices&, const TeacherRows&, const TeacherOutputs&);
}
}  // namespace limbeck
