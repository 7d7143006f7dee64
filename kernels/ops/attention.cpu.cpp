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

// Turns one row of scores into exp(score - largest), with 0 from `visible` on, and rescales what the row has summed so far.
void soften_row(const HeadLayout& head, const ForwardScratch& t, int64_t row, int64_t visible, int64_t keys_padded) {
  float* p = t.p + row * key_block;
  std::fill(p + visible, p + keys_padded, unseen);
  Lanes top = splat(t.largest[row]);
  for (int64_t j = 0; j < keys_padded; j += Lanes::width) top = larger(top, load(p + j));
  const float largest = reduce_max(top);
  Lanes sum = splat(0);
  for (int64_t j = 0; j < keys_padded; j += Lanes::width) {
    const Lanes e = exp(load(p + j) - splat(largest));
    store(p + j, e);
    sum = sum + e;
  }
  const float shrink = std::exp(t.largest[row] - largest);
  t.sum[row] = t.sum[row] * shrink + reduce_add(sum);
  t.largest[row] = largest;
  float* out = t.out + row * head.padded;
  for (int64_t d = 0; d < head.padded; d += Lanes::width) store(out + d, load(out + d) * splat(shrink));
}

void attend_to_keys(const HeadLayout& head, const ForwardScratch& t, const Range& queries, const Range& keys) {
  const int64_t rows = head.group * queries.count();
  const int64_t keys_padded = round_to_lanes(keys.count());
  tile_gemm({rows, keys_padded, head.width, head.padded, 1, key_block, key_block}, t.q, t.k_transposed, t.p);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t position = queries.begin + row % queries.count();
    soften_row(head, t, row, std::min(position + 1 - keys.begin, keys.count()), keys_padded);
  }
  tile_gemm({rows, head.padded, keys.count(), key_block, 1, head.padded, head.padded, Into::add}, t.p, t.v, t.out);
}

void write_rows(const HeadLayout& head, const ForwardScratch& t, const AttentionForward& io, const Range& queries, int64_t kv_head) {
  for (int64_t row = 0; row < head.group * queries.count(); ++row) {
    const int64_t member = row / queries.count();
    const int64_t position = queries.begin + row % queries.count();
    bf16* out = io.out_NHK + position * head.outputs + head.q(kv_head) + member * head.width;
    const float inverse = 1.0f / t.sum[row];
    for (int64_t d = 0; d < head.width; ++d) out[d] = to_bf16(t.out[row * head.padded + d] * inverse);
    io.lse_NH[position * head.heads + kv_head * head.group + member] = t.largest[row] + std::log(t.sum[row]);
  }
}

void forward_block(const HeadLayout& head, const ForwardScratch& t, const AttentionForward& io, const Range& queries, int64_t kv_head) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head.width));
  const int64_t rows = head.group * queries.count();
  widen_group(head, {io.qkv_NC + head.q(kv_head), head.columns}, queries, scale, t.q);
  std::fill(t.out, t.out + rows * head.padded, 0.0f);
  std::fill(t.largest, t.largest + rows, unseen);
  std::fill(t.sum, t.sum + rows, 0.0f);
  for (int64_t begin = queries.first; begin < queries.end; begin += key_block) {
    const Range keys{queries.first, begin, std::min(begin + key_block, queries.end)};
    widen_keys_transposed(head, {io.qkv_NC + head.k(kv_head), head.columns}, keys, t.k_transposed);
    widen_keys(head, {io.qkv_NC + head.v(kv_head), head.columns}, keys, t.v);
    attend_to_keys(head, t, queries, keys);
  }
  write_rows(head, t, io, queries, kv_head);
}

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
    forward_block(head, scratch, io, blocks[item / head.kv_heads], item % head.kv_heads);
  });
  return fine();
}

}  // namespace limbeck::cpu
