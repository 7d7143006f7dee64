// attention.cpu.cpp -- forward. One item of work is (kv head, block of queries): it walks the keys up to its diagonal with a running softmax
//   (Milakov & Gimelshein 2018), so the group's heads share each widened block of keys and values.
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

// One thread's scratch; each part a whole number of lanes.
struct ForwardScratch {
  float *q, *out, *p, *k_transposed, *v, *largest, *sum;
  static int64_t floats(const HeadLayout& head) {
    return head.rows * (2 * head.padded + key_block + 2) + 2 * key_block * head.padded;
  }
  ForwardScratch(const HeadLayout& head, float* memory) {
    q = memory;
    out = q + head.rows * head.padded;
    p = out + head.rows * head.padded;
    k_transposed = p + head.rows * key_block;
    v = k_transposed + key_block * head.padded;
    largest = v + key_block * head.padded;
    sum = largest + head.rows;
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
      : head_(head), io_(io), t_(scratch), queries_(item.queries), kv_head_(item.kv_head), rows_(head.group * item.queries.count()) {}

  void run() {
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_.width));
    head_.widen_group({io_.qkv_NC + head_.q(kv_head_), head_.columns, scale}, queries_, t_.q);
    std::fill(t_.out, t_.out + rows_ * head_.padded, 0.0f);
    std::fill(t_.largest, t_.largest + rows_, unseen);
    std::fill(t_.sum, t_.sum + rows_, 0.0f);
    for (int64_t begin = queries_.first; begin < queries_.end; begin += key_block) {
      attend_to({queries_.first, begin, std::min(begin + key_block, queries_.end)});
    }
    write_rows();
  }

 private:
  void attend_to(const Range& keys) {
    const int64_t keys_padded = round_to_lanes(keys.count());
    head_.widen_keys_transposed({io_.qkv_NC + head_.k(kv_head_), head_.columns}, keys, t_.k_transposed);
    head_.widen_keys({io_.qkv_NC + head_.v(kv_head_), head_.columns}, keys, t_.v);
    tile_gemm({rows_, keys_padded, head_.width, head_.padded, 1, key_block, key_block}, t_.q, t_.k_transposed, t_.p);
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t position = queries_.begin + row % queries_.count();
      soften_row(row, std::min(position + 1 - keys.begin, keys.count()), keys_padded);
    }
    tile_gemm({rows_, head_.padded, keys.count(), key_block, 1, head_.padded, head_.padded, Into::add}, t_.p, t_.v, t_.out);
  }

  // Turns one row of scores into exp(score - largest), with 0 from `visible` on, and rescales what the row has summed so far.
  void soften_row(int64_t row, int64_t visible, int64_t keys_padded) {
    float* p = t_.p + row * key_block;
    std::fill(p + visible, p + keys_padded, unseen);
    Lanes top = splat(t_.largest[row]);
    for (int64_t j = 0; j < keys_padded; j += Lanes::width) top = larger(top, load(p + j));
    const float largest = reduce_max(top);
    Lanes sum = splat(0);
    for (int64_t j = 0; j < keys_padded; j += Lanes::width) {
      const Lanes e = exp(load(p + j) - splat(largest));
      store(p + j, e);
      sum = sum + e;
    }
    const float shrink = std::exp(t_.largest[row] - largest);
    t_.sum[row] = t_.sum[row] * shrink + reduce_add(sum);
    t_.largest[row] = largest;
    float* out = t_.out + row * head_.padded;
    for (int64_t d = 0; d < head_.padded; d += Lanes::width) store(out + d, load(out + d) * splat(shrink));
  }

  void write_rows() {
    for (int64_t row = 0; row < rows_; ++row) {
      const int64_t member = row / queries_.count();
      const int64_t position = queries_.begin + row % queries_.count();
      head_.narrow(t_.out + row * head_.padded, 1.0f / t_.sum[row], io_.out_NHK + position * head_.outputs + head_.q(kv_head_) + member * head_.width);
      io_.lse_NH[position * head_.heads + kv_head_ * head_.group + member] = t_.largest[row] + std::log(t_.sum[row]);
    }
  }

  const HeadLayout& head_;
  const AttentionForward& io_;
  const ForwardScratch& t_;
  const Range queries_;
  const int64_t kv_head_;
  const int64_t rows_;
};

}  // namespace

Status attention_forward(const AttentionShape& shape, const AttentionForward& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_sequences(shape, io.cu_seqlens_S1));
  const HeadLayout head(shape.heads);
  const int64_t floats = ForwardScratch::floats(head);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * floats * sizeof(float), &memory));
  const std::vector<Range> blocks = cut_sequences(shape, io.cu_seqlens_S1, query_block);
  parallel_for(static_cast<int64_t>(blocks.size()) * head.kv_heads, [&](int64_t item) {
    const ForwardScratch scratch(head, static_cast<float*>(memory) + omp_get_thread_num() * floats);
    BlockForward(head, io, scratch, {blocks[item / head.kv_heads], item % head.kv_heads}).run();
  });
  return fine();
}

}  // namespace limbeck::cpu
