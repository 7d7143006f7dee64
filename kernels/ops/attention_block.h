// attention_block.h -- the forward of one block of queries of one kv head, over keys that lie in packed rows or in a cache. What a query gets depends on
//   it and its keys alone, to the bit: neither on the block it stands in nor on where the keys lie.
#pragma once
#include <cstdint>
#include "ops/attention_tiles.h"
#include "ops/kv_cache.h"

namespace limbeck::cpu {

// The keys and values of one kv head, by position.
struct HeadKeys {
  HeadRows k, v;  // rows, or where a cache begins
  const CacheLayout* cache = nullptr;
  int64_t slot = 0, kv_head = 0;  // of the cache
  int64_t chunk(int64_t page) const { return cache->at(slot, kv_head, page); }
};

struct AttentionBlock {
  HeadRows q;     // the group's first head
  HeadKeys keys;
  Range queries;  // positions, at most query_block
  int64_t row;    // of q, out and lse where the first query stands
  bf16* out;      // row 0 of the group's first head, heads K columns a row
  float* lse;     // row 0 of the group's first head, heads columns a row; null for none
};

int64_t attention_block_bytes(const HeadLayout&);  // of scratch

void attend_block(const HeadLayout&, const AttentionBlock&, char* scratch);

}  // namespace limbeck::cpu
