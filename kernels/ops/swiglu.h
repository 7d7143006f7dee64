// swiglu.h -- the gated unit of the feed-forward layer (Shazeer 2020) and its gradient.  N = tokens, I = width in, F = feed-forward width; each >= 0.
//   A row of gate_up_N2F holds F gates g, then F ups u.  s = 1 / (1 + exp(-g)).
//   forward:  out = g s u
//   backward: dg = dout u s (1 + g (1 - s)),  du = dout g s;  s is computed again rather than kept
//   fused:    out = the forward over gate_up = x_NI weight_2FI^T rounded to bf16 (linear.h), which is not written anywhere; to the bit
//   Arithmetic in float32; bits do not depend on threads. dgate_up_N2F may be gate_up_N2F itself; no other aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct SwigluShape {
  int64_t N, F;
};

struct SwigluForward {
  const bf16* gate_up_N2F;
  bf16* out_NF;  // overwritten
};

struct GatedLinearShape {
  int64_t N, I, F;
};

struct GatedLinear {
  const bf16* x_NI;
  const bf16* packed_P;  // by pack_gated; P = packed_gated_elements
  bf16* out_NF;          // overwritten
};

struct PackGated {
  const bf16* weight_2FI;  // rows of gates, then of ups
  bf16* packed_P;
};

struct SwigluBackward {
  const bf16* dout_NF;
  const bf16* gate_up_N2F;
  bf16* dgate_up_N2F;  // overwritten
};

namespace cpu {
Status swiglu_forward(const SwigluShape&, const SwigluForward&);
Status swiglu_backward(const SwigluShape&, const SwigluBackward&);
int64_t packed_gated_elements(int64_t F, int64_t I);  // 0 where nothing is fused: then neither of these is called
Status pack_gated(const GatedLinearShape&, const PackGated&);  // N is not read
Status gated_linear(const GatedLinearShape&, const GatedLinear&);
}  // namespace cpu

}  // namespace limbeck
