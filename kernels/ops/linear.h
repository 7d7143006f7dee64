// linear.h -- a layer without bias and its two gradients, on core/gemm.  N = tokens, I = width in, O = width out; each >= 0.
//   forward:          out_NO    = x_NI weight_OI^T        overwritten
//   backward, input:  dx_NI     = dout_NO weight_OI       overwritten
//   backward, weight: dweight_OI += dout_NO^T x_NI        ADDED to, float32
//   bf16 operands, float32 sums, bf16 results rounded once. Same shape and threads: same bits. No aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct LinearShape {
  int64_t N, I, O;
};

namespace cpu {
Status linear_forward(const LinearShape&, const bf16* x_NI, const bf16* weight_OI, bf16* out_NO);
Status linear_forward(const LinearShape&, const bf16* x_NI, const bf16* weight_OI, float* out_NO);
Status linear_backward_input(const LinearShape&, const bf16* dout_NO, const bf16* weight_OI, bf16* dx_NI);
Status linear_backward_weight(const LinearShape&, const bf16* dout_NO, const bf16* x_NI, float* dweight_OI);
}  // namespace cpu

}  // namespace limbeck
