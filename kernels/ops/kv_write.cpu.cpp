#include "ops/kv_write.h"

#include <cstring>
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t rows_a_task = 8;

void write_key(const bf16* row, int64_t width, int64_t position, bf16* chunk) {
  bf16* to = chunk + 2 * (position % page_positions);
  for (int64_t d = 0; d < width; d += 2) std::memcpy(to + d * page_positions, row + d, 2 * sizeof(bf16));
}

}  // namespace

Status kv_write(const KvWriteShape& shape, const KvWrite& io) {
  const CacheLayout& cache = shape.cache;
  LIMBECK_TRY(check_cache(cache, {io.slots_N, io.positions_N, shape.N}));
  const int64_t columns = cache.kv_heads * cache.width;
  parallel_blocks(shape.N, rows_a_task, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* v = io.qkv_NC + (n + 1) * shape.C - columns;
      const int64_t position = io.positions_N[n];
      for (int64_t kv_head = 0; kv_head < cache.kv_heads; ++kv_head) {
        const int64_t chunk = cache.at(io.slots_N[n], kv_head, position / page_positions);
        write_key(v - columns + kv_head * cache.width, cache.width, position, io.k_cache + chunk);
        std::memcpy(io.v_cache + chunk + position % page_positions * cache.width, v + kv_head * cache.width, static_cast<size_t>(cache.width) * sizeof(bf16));
      }
    }
  });
  return fine();
}

}  // namespace limbeck::cpu
