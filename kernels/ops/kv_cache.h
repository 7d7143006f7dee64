// kv_cache.h -- how the keys and values of decode slots lie: a slot in blocks of 16 positions, a block in one chunk a kv head, so that a query finds all it
//   reads one behind the other, and keys as the lanes of a product. A slot's first positions are its first bytes, whatever its length.
//   Element (position, d) of a chunk, K wide: of keys at (d / 2) 32 + 2 (position % 16) + d % 2, of values at (position % 16) K + d.
#pragma once
#include <cstdint>
#include <string>
#include "core/status.h"

namespace limbeck {

constexpr int64_t cache_block = 16;  // positions

// L, a multiple of 16, positions a slot; K, even, columns a kv head.
struct CacheLayout {
  int64_t length, kv_heads, width;
  int64_t chunk() const { return cache_block * width; }
  int64_t between_blocks() const { return kv_heads * chunk(); }
  // Where the chunk stands that holds `position`.
  int64_t at(int64_t slot, int64_t kv_head, int64_t position) const {
    return (slot * length / cache_block + position / cache_block) * between_blocks() + kv_head * chunk();
  }
};

inline Status check_cache(const CacheLayout& cache) {
  if (cache.length % cache_block == 0 && cache.width % 2 == 0) return fine();
  return refuse(Code::bad_shape, "a cache holds a multiple of " + std::to_string(cache_block) + " positions of heads of even width; got " +
                                     std::to_string(cache.length) + " positions of width " + std::to_string(cache.width));
}

}  // namespace limbeck
