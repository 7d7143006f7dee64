// rope.h -- rotary position embedding of the q and k columns of fused q|k|v rows, in place, half-split as Hugging Face has it (Su et al. 2021).
//   N = tokens, heads = Hq + Hkv (q heads, then k heads), K = head width (even), C = (Hq + 2 Hkv) K columns a row; v columns stay as they are.
//   With angle a = positions_N[n] inv_freq[i], i < K/2, each head's pair (x_i, x_{i+K/2}) becomes
//     forward:  (x_i cos a - x_{i+K/2} sin a,  x_{i+K/2} cos a + x_i sin a)
//     backward: the same by -a, which is the gradient
//   Angles are reduced in float64, so long contexts lose nothing; the rest is float32. Bits do not depend on threads.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

enum class Rotation { forward, backward };

struct RopeShape {
  int64_t N, C, heads, K;
};

struct Rope {
  Rotation rotation;
  const int32_t* positions_N;
  const float* inv_freq;  // [K/2]
  bf16* qkv_NC;           // rotated in place
};

namespace cpu {
Status rope(const RopeShape&, const Rope&);
}  // namespace cpu

}  // namespace limbeck
