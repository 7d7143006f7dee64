// attention_tiles.h -- how the CPU attention cuts its work and lays it out for tile_product: what the forward, the backward and the decode share.
//   A tile of queries has one column a query position and head of the group, members one behind the other, each padded to whole lanes: the scores of
//   one key are a row of lanes, so that softmax needs no sum or maximum across lanes.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>
#include "core/bf16.h"
#include "core/status.h"
#include "core/tile_product.h"
#include "ops/attention.h"

namespace limbeck::cpu {

constexpr int64_t query_block = 32;  // positions
constexpr int64_t key_block = 64;
constexpr float unseen = std::numeric_limits<float>::lowest();  // the score of a key that a query does not see

// Positions [begin, end) of the packed rows, inside the sequence that starts at `first`.
struct Range {
  int64_t first, begin, end;
  int64_t count() const { return end - begin; }
};

// Rows of bf16, `stride` elements apart; `at` is where the head of interest stands in row 0.
struct HeadRows {
  const bf16* at;
  int64_t stride;
};

// Where each head stands in a fused row, the sizes of tiles, and how rows become operands.
struct HeadLayout {
  explicit HeadLayout(const HeadShape& shape);
  int64_t heads, kv_heads;
  int64_t width;    // K
  int64_t depth;    // K rounded up to whole steps of a product
  int64_t padded;   // K rounded up to whole blocks of words
  int64_t group;    // query heads a kv head
  int64_t columns;  // C, of a fused row
  int64_t outputs;  // Hq K, of an output row
  float scale;      // 1 / sqrt(K)
  bool by_units;    // products take tile units: the CPU has them, and whole steps of them fill the width
  int64_t q(int64_t kv_head) const { return kv_head * group * width; }  // the group's first query head, in a fused row and in an output row
  int64_t k(int64_t kv_head) const { return (heads + kv_head) * width; }
  int64_t v(int64_t kv_head) const { return (heads + kv_heads + kv_head) * width; }
  int64_t most_queries() const { return group * query_block; }
  int64_t query_columns(const Range& queries) const;  // of the tile

  // rows_[count, padded] = the head at the range's positions; zeros behind its width, and rows of zeros up to `rows`.
  void copy_rows(const HeadRows&, const Range&, int64_t rows, TileElement* to) const;
  // to[width, key_block] = the head at the range's positions, turned; zeros behind them up to whole steps of units. Both sizes rounded up must fit.
  void turn_rows(const HeadRows&, const Range&, TileElement* to) const;
  // to[16, padded] = the positions of a chunk of cached keys (kv_cache.h); what stands behind their width is left as it was.
  void copy_chunk(const bf16* chunk, TileElement* to) const;
  // The rows of a tile of queries: [query_columns, padded].
  void copy_group(const HeadRows&, const Range&, TileElement* to) const;
  // to[padded] = from[width] widened; zeros behind.
  void widen(const bf16* from, float* to) const;
  // to[count, padded], widened.
  void widen_rows(const HeadRows&, const Range&, float* to) const;
  // Packs [rows, padded], rows a multiple of 16, as operand B with the head's width as depth: B[d, row].
  void pack_across(const TileElement* rows_RK, int64_t rows, TileElement* to) const;
  // Packs [rows, padded], rows a multiple of tile_depth, as operand B with the rows as depth: B[row, d].
  void pack_along(const TileElement* rows_RK, int64_t rows, TileElement* to) const;
  // Rounds the tile from[padded, columns], turned and times `scale`, into the heads of the range's positions; `to` is position 0 of the first.
  void write_group(float* from, const Range&, float factor, bf16* to, int64_t stride) const;
};

Status check_heads(const HeadShape&);
Status check_sequences(const AttentionShape&, const int32_t* cu_seqlens_S1);

// Every sequence cut into pieces of at most `block` positions, in order.
std::vector<Range> cut_sequences(const AttentionShape&, const int32_t* cu_seqlens_S1, int64_t block);

}  // namespace limbeck::cpu
