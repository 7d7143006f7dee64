// head_logits.h -- chunks of logits of the language-model head, for distill_head and score_head alike: both must see the same numbers, so that a
//   student scored by itself has no loss.  R = rows, V = vocabulary, D = model width.
//   Logits stay float32 until the gradient overwrites them. float16 would halve the chunk, but one unit in its last place at a gap of 1 to 2 below the
//   maximum is 2^-10: |dz| up to 1.8e-4 from storage alone, against the 2e-4 that self-distillation allows in all.
#pragma once
#include <algorithm>
#include <cstdint>
#include "core/bf16.h"
#include "core/gemm.h"
#include "core/status.h"

namespace limbeck {

struct HeadMatrices {
  int64_t R, V, D;
  const bf16* hidden_RD;
  const bf16* weight_VD;
};

// Rows a chunk, in steps of 16 and at most `most`: so many that their float32 logits take no more than `most_bytes`.
inline int64_t head_chunk_rows(int64_t V, int64_t most_bytes = int64_t{128} << 20, int64_t most = 512) {
  const int64_t rows = most_bytes / (static_cast<int64_t>(sizeof(float)) * std::max<int64_t>(V, 1));
  return std::clamp<int64_t>(rows / 16 * 16, 16, most);
}

// logits_CV = hidden[begin, begin + rows) . weight^T
inline Status head_logits(const HeadMatrices& head, int64_t begin, int64_t rows, float* logits_CV) {
  GemmShape shape{rows, head.V, head.D, head.D, head.D, head.V};
  shape.b = Layout::transposed;
  return gemm(shape, head.hidden_RD + begin * head.D, head.weight_VD, logits_CV);
}

}  // namespace limbeck
