// attention_row.h -- one query row over its slot of the cache, on one thread, with the bits of attention_block.h: keys in the same blocks of 64, every sum
//   in the same order, but with keys in the lanes where a block has queries.
#pragma once
#include <cstdint>
#include <optional>
#include "ops/attention.h"
#include "ops/attention_tiles.h"
#include "ops/kv_cache.h"

namespace limbeck::cpu {

struct KvHeads {
  int64_t first, count;
};

// Where a row's keys of one kv head begin.
struct RowOfHead {
  int64_t row, kv_head;
};

// Rows [begin, end) of the call, for these kv heads and their groups.
struct RowsOfHeads {
  int64_t begin, end;
  KvHeads heads;
  std::optional<RowOfHead> next;  // what this thread attends to behind them, as far as is known: its keys come nearer
};

int64_t attention_row_bytes(const HeadLayout&);  // of scratch

// What a thread keeps from one call to the next.
struct RowWorker {
  char* scratch;
  const bf16* asked_for = nullptr;  // the keys that come nearer since the last call: they need not be asked for again
};

void attend_rows(const HeadLayout&, const CacheLayout&, const AttentionDecode&, const RowsOfHeads&, RowWorker&);

}  // namespace limbeck::cpu
