// embedding.h -- rows of a table, and the gradient of the table.  N = tokens, V = vocabulary, D = width; each >= 0.
//   forward:  out_ND[n] = weight_VD[tokens_N[n]]                          exact
//   backward: dweight_VD[tokens_N[n]] += dout_ND[n], n = 0, 1, 2, …       in token order, so bits do not depend on threads
//   An id outside [0, V) is bad_value, found before any work. No aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct EmbeddingShape {
  int64_t N, V, D;
};

struct EmbeddingForward {
  const int32_t* tokens_N;
  const bf16* weight_VD;
  float* out_ND;  // overwritten
};

struct EmbeddingBackward {
  const int32_t* tokens_N;
  const float* dout_ND;
  float* dweight_VD;  // ADDED to
};

namespace cpu {
Status embedding_forward(const EmbeddingShape&, const EmbeddingForward&);
Status embedding_backward(const EmbeddingShape&, const EmbeddingBackward&);
}  // namespace cpu

}  // namespace limbeck
