// distill_row.h -- one row of distill_head on one thread: from its logits to its metrics and its gradient. Formulas in distill_head.h.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "ops/distill_head.h"

namespace limbeck::cpu {

struct DistillRow {
  float* logits_V;  // in: z; out: scratch, or the gradient
  int64_t V;
  int32_t label;
  Loss loss;
  int64_t S;  // 0 when there are no targets
  const int32_t* ids_S;
  const float* log_probs_S;
  double tail;
  float* logits_S;  // scratch
};

// What the gradient needs of a row whose logits are gone: exponentials off the support stand in their place, 0 on it.
struct RowGradient {
  double off;       // dz_j = off x e_j off the support
  double on;        // dz_j = p_j (on + log_ratio r_j) - target q_j on the support
  double log_ratio;
  double target;
  float largest;
  double sum;       // of all e
};

// Fills metrics[row_metrics] and turns the logits into exponentials.
RowGradient measure_row(const DistillRow&, float* metrics);

// Writes scale x dz, rounded to bf16, over the first half of the row's memory.
void differentiate_row(const DistillRow&, const RowGradient&, double scale);

}  // namespace limbeck::cpu
