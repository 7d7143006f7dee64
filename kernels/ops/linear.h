// linear.h -- a layer without bias and its two gradients, on core/gemm.  N = tokens, I = width in, O = width out; each >= 0.
//   forward:          out_NO    = x_NI weight_OI^T        overwritten
//   backward, input:  dx_NI     = dout_NO weight_OI       overwritten
//   backward, weight: dweight_OI += dout_NO^T x_NI        ADDED to, float32
//   bf16 operands, float32 sums, bf16 results rounded once. Bits of a result's row depend neither on its other rows nor on threads (core/gemm.h). No aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct LinearShape {
  int64_t N, I, O;
};

template <typename Out>  // bf16 or float
struct LinearForward {
  const bf16* x_NI;
  const bf16* weight_OI;
  Out* out_NO;
};

// The same with a packed weight, for many products of few rows: the same bits.
template <typename Out>
struct LinearPacked {
  const bf16* x_NI;
  const bf16* packed_P;  // by pack_weight; P = packed_weight_elements
  Out* out_NO;
};

struct PackWeight {
  const bf16* weight_OI;
  bf16* packed_P;
};

struct LinearBackwardInput {
  const bf16* dout_NO;
  const bf16* weight_OI;
  bf16* dx_NI;
};

struct LinearBackwardWeight {
  const bf16* dout_NO;
  const bf16* x_NI;
  float* dweight_OI;
};

namespace cpu {
Status linear_forward(const LinearShape&, const LinearForward<bf16>&);
Status linear_forward(const LinearShape&, const LinearForward<float>&);
int64_t packed_weight_elements(int64_t O, int64_t I);
Status pack_weight(const LinearShape&, const PackWeight&);  // N is not read
Status linear_packed(const LinearShape&, const LinearPacked<bf16>&);
Status linear_packed(const LinearShape&, const LinearPacked<float>&);
Status linear_backward_input(const LinearShape&, const LinearBackwardInput&);
Status linear_backward_weight(const LinearShape&, const LinearBackwardWeight&);
}  // namespace cpu

}  // namespace limbeck
