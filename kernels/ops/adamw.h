// adamw.h -- one step of AdamW (Loshchilov and Hutter 2019) on one parameter of `elements` elements, in one pass.
//   g = grad norm_clip_2[1];  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   master -= learning_rate (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + eps) + weight_decay master)
//   weight = master, rounded to its dtype;  grad = 0
//   Float32; bits do not depend on threads. weight, when float32, may be master itself; no other aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct AdamwSettings {
  double learning_rate;  // >= 0
  double beta1, beta2;   // [0, 1)
  double eps;            // >= 0
  double weight_decay;   // >= 0
  int64_t step;          // >= 1
};

struct AdamwState {
  int64_t elements;
  float* master;
  float* m;
  float* v;
  float* grad;               // zeroed
  const float* norm_clip_2;  // as grad_norm left it
};

namespace cpu {
Status adamw(const AdamwSettings&, const AdamwState&, bf16* weight);
Status adamw(const AdamwSettings&, const AdamwState&, float* weight);
}  // namespace cpu

}  // namespace limbeck
