// attention_decode.cpu.cpp -- with the bits of the packed forward. A row alone goes by attention_row.h; rows that follow each other in one slot, a prompt that
//   goes on, are blocks of the forward itself. One item of work is (rows, kv heads).
#include <algorithm>
#include <optional>
#include <vector>
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_block.h"
#include "ops/attention_row.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t least_block = 8;  // fewer rows of one slot are quicker one by one
constexpr int64_t tasks_a_thread = 16;

// Rows [begin, end): a block of one slot, or rows that have nothing to do with each other.
struct Piece {
  int64_t begin, end;
  bool is_block;
};

int64_t count_following(int64_t row, int64_t rows, const AttentionDecode& io) {
  int64_t count = 1;
  while (count < query_block && row + count < rows && io.slots_N[row + count] == io.slots_N[row] && io.positions_N[row + count] == io.positions_N[row] + count) ++count;
  return count;
}

// Which rows make a piece decides when they are computed, not what is added.
std::vector<Piece> cut_rows(int64_t rows, int64_t most, const AttentionDecode& io) {
  std::vector<Piece> pieces;
  for (int64_t row = 0; row < rows;) {
    const int64_t following = count_following(row, rows, io);
    const bool is_block = following >= least_block;
    if (is_block || pieces.empty() || pieces.back().is_block || pieces.back().end - pieces.back().begin >= most) pieces.push_back({row, row, is_block});
    row += is_block ? following : 1;
    pieces.back().end = row;
  }
  return pieces;
}

class Decode {
 public:
  Decode(const HeadLayout& head, const CacheLayout& cache, const AttentionDecode& io) : head_(head), cache_(cache), io_(io) {}

  void run(const Piece& piece, const KvHeads& heads, const std::optional<RowOfHead>& next, RowWorker& worker) const {
    if (!piece.is_block) return attend_rows(head_, cache_, io_, {piece.begin, piece.end, heads, next}, worker);
    const int64_t first = io_.positions_N[piece.begin];
    for (int64_t kv_head = heads.first; kv_head < heads.first + heads.count; ++kv_head) {
      const HeadKeys keys{{io_.k_cache, 0}, {io_.v_cache, 0}, &cache_, io_.slots_N[piece.begin], kv_head};
      const Range queries{0, first, first + piece.end - piece.begin};
      attend_block(head_, {{io_.qkv_NC + head_.q(kv_head), head_.columns}, keys, queries, piece.begin, io_.out_NHK + head_.q(kv_head), nullptr}, worker.scratch);
    }
  }

 private:
  const HeadLayout& head_;
  const CacheLayout& cache_;
  const AttentionDecode& io_;
};

}  // namespace

Status attention_decode(const DecodeShape& shape, const AttentionDecode& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  const HeadLayout head(shape.heads);
  LIMBECK_TRY(check_cache(shape.cache, {io.slots_N, io.positions_N, shape.N}));
  if (shape.N == 0) return fine();
  const int64_t bytes = std::max(attention_row_bytes(head), attention_block_bytes(head));
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * bytes, &memory));
  const int64_t tasks = tasks_a_thread * thread_count();
  const std::vector<Piece> pieces = cut_rows(shape.N, (shape.N + tasks - 1) / tasks, io);
  const int64_t count = static_cast<int64_t>(pieces.size());
  const int64_t kv_count = count >= tasks ? head.kv_heads : 1;
  const int64_t items_a_piece = head.kv_heads / kv_count, items = count * items_a_piece;
  const Decode decode(head, shape.cache, io);
  const auto piece_of = [&](int64_t item) -> const Piece& { return pieces[item / items_a_piece]; };
  const auto first_head_of = [&](int64_t item) { return item % items_a_piece * kv_count; };
  parallel_for(items, [&] { return RowWorker{static_cast<char*>(memory) + thread_index() * bytes}; }, [&](RowWorker& worker, int64_t item) {
    std::optional<RowOfHead> next;
    if (!ends_share(item, items) && !piece_of(item + 1).is_block) next = {piece_of(item + 1).begin, first_head_of(item + 1)};
    decode.run(piece_of(item), {first_head_of(item), kv_count}, next, worker);
  });
  return fine();
}

}  // namespace limbeck::cpu
