// kv_write.h -- copies the k and v columns of fused q|k|v rows into the caches of decode slots.
//   N = rows, C = (Hq + 2 Hkv) K columns a row, W = Hkv K columns of k (and of v, the last), B = slots, L = cache length.
//   k_cache_BLW[slots_N[n], positions_N[n]] = k columns of row n; v_cache likewise.
//   A slot outside [0, B) or a position outside [0, L) is bad_value, found before any work. (slot, position) pairs are distinct. No aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

struct KvWriteShape {
  int64_t N, C, W, B, L;
};

struct KvWrite {
  const bf16* qkv_NC;
  const int32_t* slots_N;
  const int32_t* positions_N;
  bf16* k_cache_BLW;
  bf16* v_cache_BLW;
};

namespace cpu {
Status kv_write(const KvWriteShape&, const KvWrite&);
}  // namespace cpu

}  // namespace limbeck
