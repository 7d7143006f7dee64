// swiglu.h -- the gated unit of the feed-forward layer (Shazeer 2020) and its gradient.  N = tokens, F = feed-forward width; each >= 0.
//   A row of gate_up_N2F holds F gates g, then F ups u.  s = 1 / (1 + exp(-g)).
//   forward:  out = g s u
//   backward: dg = dout u s (1 + g (1 - s)),  du = dout g s;  s is computed again rather than kept
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

struct SwigluBackward {
  const bf16* dout_NF;
  const bf16* gate_up_N2F;
  bf16* dgate_up_N2F;  // overwritten
};

namespace cpu {
Status swiglu_forward(const SwigluShape&, const SwigluForward&);
Status swiglu_backward(const SwigluShape&, const SwigluBackward&);
}  // namespace cpu

}  // namespace limbeck
