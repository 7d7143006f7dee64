// amx_packed.h -- how amx_gemm.h lays a packed B: for every `deepest` values of k its panels one behind the other, each all its steps (amx_tile.h).
#pragma once
#include <cstdint>
#include "core/amx_tile.h"
#include "core/deep_product.h"

namespace limbeck::amx {

constexpr int64_t deepest = 3072;  // values of k that are multiplied in one go

inline int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }
inline int64_t round_up(int64_t count, int64_t step) { return blocks_of(count, step) * step; }

// One panel of `panels`.
inline const bf16* packed_panel(const bf16* packed, int64_t panel, int64_t panels, Part depth) {
  return packed + depth.begin * panels * panel_columns + panel * steps_of(depth.size) * step_elements;
}

}  // namespace limbeck::amx
