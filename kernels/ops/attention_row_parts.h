// attention_row_parts.h -- what a decoded row reads of a cache at a time: a unit, one kv head over 64 keys.
#pragma once
#include <immintrin.h>
#include <cstdint>
#include "core/bf16.h"
#include "core/lanes.h"
#include "ops/attention_tiles.h"
#include "ops/kv_cache.h"

namespace limbeck::cpu {

constexpr int64_t pairs_width = 2 * Lanes::width;  // columns in sixteen pairs
constexpr int64_t values_a_line = 64 / sizeof(bf16);
constexpr int64_t unit_chunks = key_block / page_positions;

inline void fetch_line(const bf16* chunk, int64_t line) { _mm_prefetch(reinterpret_cast<const char*>(chunk + line * values_a_line), _MM_HINT_T1); }

// Keys of a unit; `ahead` are its values, which are fetched meanwhile.
struct Keys {
  const bf16 *k, *ahead;
  const int64_t* chunks;  // where they stand in either cache
  int64_t pairs;          // of columns: as many lines has a chunk
  Keys from(int64_t group) const { return {k, ahead, chunks + group, pairs}; }
};

// Values of a unit; `ahead` are the keys of the next.
struct Values {
  const bf16* v;
  const int64_t* chunks;
  const bf16* ahead;
  const int64_t* chunks_ahead;
  int64_t count, width;  // rows; elements between rows of a chunk
  int64_t lines;         // of `ahead` a row
};

}  // namespace limbeck::cpu
