// gated.h -- the gated unit's arithmetic (Shazeer 2020), which its operation and products that end with it share.
#pragma once
#include "core/lanes.h"

namespace limbeck {

inline Lanes sigmoid(Lanes x) {
  const Lanes one = splat(1);
  return one / (one + exp(splat(0) - x));
}

// silu(gate) up
inline Lanes gated(Lanes gate, Lanes up) { return gate * sigmoid(gate) * up; }

}  // namespace limbeck
