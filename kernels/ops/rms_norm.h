// rms_norm.h -- root-mean-square norm of the residual stream, with the addition that feeds it (Zhang and Sennrich 2019).
//   N = tokens, D = width.  x = residual, r = rstd, w = weight, y = out, g = gradient of y.  delta is bf16 or, where a sublayer's output is to
//   reach the residual without a rounding of its own, float32; the formula and everything else is the same.
//   forward:  x += delta (skipped when delta is null);  r_n = 1 / sqrt(mean_d x_nd^2 + eps);  y_nd = x_nd r_n w_d
//   backward: dx_nd += r_n w_d g_nd - x_nd r_n^3 / D * sum_j w_j g_nj x_nj;  dw_d += sum_n g_nd x_nd r_n;  ddelta = dx rounded (skipped when null)
//   Arithmetic in float32; bits do not depend on threads. No aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct RmsNormShape {
  int64_t N, D;  // N >= 0, D >= 1
};

template <typename Delta>  // bf16 or float
struct RmsNormForward {
  const Delta* delta_ND;  // may be null
  const float* weight_D;
  float eps;           // >= 0
  float* residual_ND;  // delta is ADDED
  bf16* out_ND;        // overwritten
  float* rstd_N;       // overwritten
};

struct RmsNormBackward {
  const bf16* dout_ND;
  const float* residual_ND;  // as the forward left it
  const float* weight_D;
  const float* rstd_N;
  float* dresidual_ND;  // ADDED to
  float* dweight_D;     // ADDED to
  bf16* ddelta_ND;      // overwritten; may be null
};

namespace cpu {
Status rms_norm_forward(const RmsNormShape&, const RmsNormForward<bf16>&);
Status rms_norm_forward(const RmsNormShape&, const RmsNormForward<float>&);
Status rms_norm_backward(const RmsNormShape&, const RmsNormBackward&);
}  // namespace cpu

}  // namespace limbeck
