// kv_cache.h -- how the keys and values of decode slots lie: in pages of 16 positions (Kwon et al. 2023), which a table gives to slots, so that slots that begin
//   alike may have pages in common. A page has one chunk a kv head, so that a query finds what it reads of a page one behind the other, and keys as the lanes
//   of a product.
//   Element (position, d) of a chunk, K wide: of keys at (d / 2) 32 + 2 (position % 16) + d % 2, of values at (position % 16) K + d.
#pragma once
#include <cstdint>
#include <string>
#include "core/indices.h"
#include "core/status.h"

namespace limbeck {

constexpr int64_t page_positions = 16;

// B slots of up to M pages, of P that there are; K, even, columns a kv head.
struct CacheLayout {
  const int32_t* pages_BM;  // [0, P): a slot's pages by their positions; those that nothing is read from or written to may be any
  int64_t B, M, P;
  int64_t kv_heads, width;
  int64_t length() const { return M * page_positions; }
  int64_t chunk() const { return page_positions * width; }
  // Where a slot's chunk of this kv head stands in its page-th page, which holds positions 16 page to 16 page + 15.
  int64_t at(int64_t slot, int64_t kv_head, int64_t page) const { return (pages_BM[slot * M + page] * kv_heads + kv_head) * chunk(); }
};

// Rows of a call: their slots and positions.
struct CachePlaces {
  const int32_t* slots_N;
  const int32_t* positions_N;
  int64_t N;
};

inline Status check_cache(const CacheLayout& cache, const CachePlaces& places) {
  if (cache.width % 2 != 0) return refuse(Code::bad_shape, "a cache holds heads of even width; got " + std::to_string(cache.width));
  LIMBECK_TRY(check_indices({"pages_BM", cache.pages_BM, cache.B * cache.M}, cache.P));
  LIMBECK_TRY(check_indices({"slots_N", places.slots_N, places.N}, cache.B));
  return check_indices({"positions_N", places.positions_N, places.N}, cache.length());
}

}  // namespace limbeck
