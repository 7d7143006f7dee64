// attention.cpu.cpp -- forward. One item of work is (block of queries, kv head): it walks the keys up to its diagonal with a running softmax
//   (Milakov & Gimelshein 2018), so the group's heads share each block of keys and values. Scores are exact products of bf16; the probabilities and
//   values of the second product stay float32, because rounding probabilities to bf16 costs more accuracy than all else here together.
#include <algorithm>
#include <cmath>
#include <limits>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tile_gemm.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_tiles.h"

namespace limbeck::cpu {

namespace {

constexpr float unseen = std::numeric_limits<float>::lowest();

// One thread's scratch; each part a whole number of cache lines.
struct ForwardScratch {
  float *scores, *out, *v, *largest, *sum, *position;
  TileElement *q_rows, *q, *k;
  static int64_t floats(const HeadLayout& head) { return head.most_queries() * (key_block + head.padded + 3) + key_block * head.padded; }
  static int64_t elements(const HeadLayout& head) { return (2 * head.most_queries() + key_block) * head.padded; }
  static int64_t bytes(const HeadLayout& head) { return floats(head) * sizeof(float) + elements(head) * sizeof(TileElement); }
  ForwardScratch(const HeadLayout& head, char* memory) {
    scores = reinterpret_cast<float*>(memory);
    out = scores + head.most_queries() * key_block;
    v = out + head.most_queries() * head.padded;
    largest = v + key_block * head.padded;
    sum = largest + head.most_queries();
    position = sum + head.most_queries();
    q_rows = reinterpret_cast<TileElement*>(position + head.most_queries());
    q = q_rows + head.most_queries() * head.padded;
    k = q + head.most_queries() * head.padded;
  }
};

// One block of queries of one kv head.
struct Item {
  Range queries;
  int64_t kv_head;
};

class BlockForward {
 public:
  BlockForward(const HeadLayout& head, const AttentionForward& io, const ForwardScratch& scratch, const Item& item)
      : head_(head), io_(io), t_(scratch), queries_(item.queries), kv_head_(item.kv_head), columns_(head.query_columns(item.queries)) {}

  void run() {
    head_.copy_group({io_.qkv_NC + head_.q(kv_head_), head_.columns}, queries_, t_.q_rows);
    head_.pack_across(t_.q_rows, columns_, t_.q);
    std::fill(t_.out, t_.out + columns_ * head_.padded, 0.0f);
    std::fill(t_.largest, t_.largest + columns_, unseen);
    std::fill(t_.sum, t_.sum + columns_, 0.0f);
    for (int64_t column = 0; column < columns_; ++column) t_.position[column] = static_cast<float>(position_of(column) - queries_.first);
    for (int64_t begin = queries_.first; begin < queries_.end; begin += key_block) {
      attend_to({queries_.first, begin, std::min(begin + key_block, queries_.end)});
    }
    write_rows();
  }

 private:
  int64_t position_of(int64_t column) const { return queries_.begin + column % (columns_ / head_.group); }

  void attend_to(const Range& keys) {
    head_.copy_rows({io_.qkv_NC + head_.k(kv_head_), head_.columns}, keys, keys.count(), t_.k);
    head_.widen_rows({io_.qkv_NC + head_.v(kv_head_), head_.columns}, keys, t_.v);
    tile_product({keys.count(), columns_, head_.depth, head_.padded, columns_, columns_}, t_.k, t_.q, t_.scores);
    for (int64_t column = 0; column < columns_; column += Lanes::width) soften_lanes(keys, column);
    tile_gemm({head_.width, columns_, keys.count(), 1, head_.padded, columns_, columns_, Into::add}, t_.v, t_.scores, t_.out);
  }

  // Turns sixteen columns of scores into exp(score - largest), with 0 for keys behind the query, and rescales what the columns have summed so far.
  void soften_lanes(const Range& keys, int64_t column) {
    float* scores = t_.scores + column;
    const Lanes before = load(t_.largest + column);
    const Lanes top = keys.end > queries_.begin + 1 ? hide_later(keys, column, before) : largest_of(keys, column, before);
    const Lanes scale = splat(head_.scale);
    const Lanes shift = splat(0) - top * scale;
    Lanes sum = splat(0);
    for (int64_t j = 0; j < keys.count(); ++j) {
      const Lanes e = exp(multiply_add(load(scores + j * columns_), scale, shift));
      store(scores + j * columns_, e);
      sum = sum + e;
    }
    const Lanes shrink = exp((before - top) * scale);
    store(t_.sum + column, multiply_add(load(t_.sum + column), shrink, sum));
    if (!any_above(top, before)) return;
    store(t_.largest + column, top);
    scale_column(column, shrink);
  }

  Lanes largest_of(const Range& keys, int64_t column, Lanes top) const {
    for (int64_t j = 0; j < keys.count(); ++j) top = larger(load(t_.scores + j * columns_ + column), top);
    return top;
  }

  Lanes hide_later(const Range& keys, int64_t column, Lanes top) {
    const Lanes position = load(t_.position + column);
    for (int64_t j = 0; j < keys.count(); ++j) {
      float* score = t_.scores + j * columns_ + column;
      const Lanes seen = where_at_least(position, static_cast<float>(keys.begin + j - keys.first), load(score), splat(unseen));
      store(score, seen);
      top = larger(seen, top);
    }
    return top;
  }

  void scale_column(int64_t column, Lanes factor) {
    for (int64_t d = 0; d < head_.width; ++d) {
      float* out = t_.out + d * columns_ + column;
      store(out, load(out) * factor);
    }
  }

  void write_rows() {
    for (int64_t column = 0; column < columns_; column += Lanes::width) scale_column(column, splat(1) / load(t_.sum + column));
    head_.write_group(t_.out, queries_, 1, io_.out_NHK + head_.q(kv_head_), head_.outputs);
    const int64_t span = columns_ / head_.group;
    for (int64_t member = 0; member < head_.group; ++member) {
      for (int64_t i = 0; i < queries_.count(); ++i) {
        const int64_t column = member * span + i;
        const float lse = t_.largest[column] * head_.scale + std::log(t_.sum[column]);
        io_.lse_NH[(queries_.begin + i) * head_.heads + kv_head_ * head_.group + member] = lse;
      }
    }
  }

  const HeadLayout& head_;
  const AttentionForward& io_;
  const ForwardScratch& t_;
  const Range queries_;
  const int64_t kv_head_;
  const int64_t columns_;
};

}  // namespace

Status attention_forward(const AttentionShape& shape, const AttentionForward& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_sequences(shape, io.cu_seqlens_S1));
  const HeadLayout head(shape.heads);
  const int64_t bytes = ForwardScratch::bytes(head);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * bytes, &memory));
  const std::vector<Range> blocks = cut_sequences(shape, io.cu_seqlens_S1, query_block);
  parallel_for(static_cast<int64_t>(blocks.size()) * head.kv_heads, [&](int64_t item) {
    const ForwardScratch scratch(head, static_cast<char*>(memory) + omp_get_thread_num() * bytes);
    BlockForward(head, io, scratch, {blocks[item / head.kv_heads], item % head.kv_heads}).run();
  });
  return fine();
}

}  // namespace limbeck::cpu
