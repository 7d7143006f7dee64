// attention_tiles.h -- how the CPU attention cuts its work and widens it: what the forward, the backward and the decode share.
#pragma once
#include <cstdint>
#include <vector>
#include "core/bf16.h"
#include "core/status.h"
#include "ops/attention.h"

namespace limbeck::cpu {

constexpr int64_t query_block = 32;  // positions; a tile of queries has one row a position and head of the group
constexpr int64_t key_block = 64;

// Positions [begin, end) of the packed rows, inside the sequence that starts at `first`.
struct Range {
  int64_t first, begin, end;
  int64_t count() const { return end - begin; }
};

// Rows of bf16, `stride` elements apart; `at` is where the head of interest stands in row 0. They are multiplied by `scale` when widened.
struct HeadRows {
  const bf16* at;
  int64_t stride;
  float scale = 1;
};

// Where each head stands in a fused row, the sizes of tiles, and how rows become tiles.
struct HeadLayout {
  explicit HeadLayout(const HeadShape& shape);
  int64_t heads, kv_heads;
  int64_t width;    // K
  int64_t padded;   // K rounded up to whole lanes
  int64_t group;    // query heads a kv head
  int64_t columns;  // C, of a fused row
  int64_t outputs;  // Hq K, of an output row
  int64_t rows;     // group x query_block, the most rows of a tile of queries
  int64_t q(int64_t kv_head) const { return kv_head * group * width; }  // the group's first query head, in a fused row and in an output row
  int64_t k(int64_t kv_head) const { return (heads + kv_head) * width; }
  int64_t v(int64_t kv_head) const { return (heads + kv_heads + kv_head) * width; }

  // to[padded] = from[width] widened, times `scale`; zeros behind.
  void widen(const bf16* from, float scale, float* to) const;
  // tile[group x count, padded]: row member x count + i is that member's head at position begin + i.
  void widen_group(const HeadRows&, const Range&, float* tile) const;
  // tile[count, padded] = the head at the range's positions.
  void widen_keys(const HeadRows&, const Range&, float* tile) const;
  // tile[K, key_block] = its transpose; columns from count up to whole lanes are zero.
  void widen_keys_transposed(const HeadRows&, const Range&, float* tile) const;
  // to[width] = from[width] times `scale`, rounded.
  void narrow(const float* from, float scale, bf16* to) const;
};

Status check_heads(const HeadShape&);
Status check_sequences(const AttentionShape&, const int32_t* cu_seqlens_S1);

// Every sequence cut into pieces of at most `block` positions, in order.
std::vector<Range> cut_sequences(const AttentionShape&, const int32_t* cu_seqlens_S1, int64_t block);

}  // namespace limbeck::cpu
