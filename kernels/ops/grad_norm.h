// grad_norm.h -- the Euclidean norm over all gradients, and the factor that clips it.
//   out_2[0] = sqrt(sum over all tensors and elements of g^2);  out_2[1] = min(1, clip / out_2[0]), 1 when the norm is 0
//   Squares are added in float32 within fixed blocks of one tensor, blocks in float64 in order of tensor and index: bits do not depend on threads.
//   A gradient that is not finite makes the norm not finite; NaN makes both results NaN, never a silent 1.
#pragma once
#include <cstdint>
#include <vector>
#include "core/status.h"

namespace limbeck {

struct Gradient {
  const float* data;
  int64_t elements;
};

namespace cpu {
Status grad_norm(const std::vector<Gradient>& gradients, float clip, float* out_2);  // clip > 0; out_2 overwritten
}  // namespace cpu

}  // namespace limbeck
