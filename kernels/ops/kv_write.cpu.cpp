#include "ops/kv_write.h"

#include <cstring>
#include "core/indices.h"
#include "core/parallel.h"

namespace limbeck::cpu {

Status kv_write(const KvWriteShape& shape, const KvWrite& io) {
  LIMBECK_TRY(check_indices({"slots_N", io.slots_N, shape.N}, shape.B));
  LIMBECK_TRY(check_indices({"positions_N", io.positions_N, shape.N}, shape.L));
  const size_t bytes = static_cast<size_t>(shape.W) * sizeof(bf16);
  parallel_blocks(shape.N, 16, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* v = io.qkv_NC + (n + 1) * shape.C - shape.W;
      const int64_t row = (io.slots_N[n] * shape.L + io.positions_N[n]) * shape.W;
      std::memcpy(io.k_cache_BLW + row, v - shape.W, bytes);
      std::memcpy(io.v_cache_BLW + row, v, bytes);
    }
  });
  return fine();
}

}  // namespace limbeck::cpu
