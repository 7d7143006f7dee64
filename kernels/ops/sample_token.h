// sample_token.h -- draws one id a row.  B = rows (decode slots), V = vocabulary.  A row depends on nothing but itself.
//   temperature 0: the largest logit, among equals the smaller id. Otherwise, on weights w = exp((z - max z) / temperature):
//     1. top k keeps the k largest logits, among equals the smaller ids (0 or k >= V keeps all);
//     2. top p keeps the smallest set of the heaviest of those whose weight reaches top_p of theirs, at least one (1 keeps all);
//     3. the id is the first in ascending order at which the running weight of what is kept exceeds u times its sum, u = philox_uniform(key, counter).
//   log_probs_B: the id's log-prob at temperature 1 over all of V. Weights are float32, sums float64.
#pragma once
#include <cstdint>
#include "core/status.h"

namespace limbeck {

struct SampleShape {
  int64_t B, V;  // B >= 0, V >= 1
};

struct SampleInputs {
  const float* logits_BV;
  const float* temperature_B;   // finite, >= 0
  const int32_t* top_k_B;       // >= 0
  const float* top_p_B;         // (0, 1]
  const int32_t* keys_B2;       // uint32 bits
  const int32_t* counters_B4;   // uint32 bits
};

struct SampleOutputs {  // overwritten
  int32_t* ids_B;
  float* log_probs_B;
};

namespace cpu {
Status sample_token(const SampleShape&, const SampleInputs&, const SampleOutputs&);
}
}  // namespace limbeck
