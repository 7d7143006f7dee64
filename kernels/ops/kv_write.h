// kv_write.h -- copies the k and v columns of fused q|k|v rows into the caches of decode slots, laid out as kv_cache.h says.
//   N = rows, C = (Hq + 2 Hkv) K columns a row; the v columns are a row's last Hkv K, the k columns those before them.
//   (slots_N[n], positions_N[n]) = the k and v columns of row n.
//   A slot, position or page outside the cache is bad_value, found before any work. Rows are written to distinct places. No aliasing.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"
#include "ops/kv_cache.h"

namespace limbeck {

struct KvWriteShape {
  int64_t N, C;
  CacheLayout cache;
};

struct KvWrite {
  const bf16* qkv_NC;
  const int32_t* slots_N;
  const int32_t* positions_N;
  bf16* k_cache;
  bf16* v_cache;
};

namespace cpu {
Status kv_write(const KvWriteShape&, const KvWrite&);
}  // namespace cpu

}  // namespace limbeck
