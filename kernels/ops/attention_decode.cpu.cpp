// attention_decode.cpu.cpp -- one query row a slot. One item of work is (row, kv heads): a block of the cache is read once for all of them, rows whole
//   where there are enough, because memory gives whole rows faster than the part of one kv head in each.
#include <algorithm>
#include <cmath>
#include <limits>
#include "core/indices.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tile_gemm.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_tiles.h"

namespace limbeck::cpu {

namespace {

struct DecodeScratch {
  float *out, *v, *p;
  TileElement* q;
  bf16* key;
  int64_t p_stride;
  static int64_t floats(const HeadLayout& head, int64_t longest) {
    return (2 * head.heads + key_block + 1) * head.padded + head.heads * round_to_lanes(longest);
  }
  DecodeScratch(const HeadLayout& head, int64_t longest, float* memory) {
    out = memory;
    v = out + head.heads * head.padded;
    q = reinterpret_cast<TileElement*>(v + key_block * head.padded);
    key = reinterpret_cast<bf16*>(v + (key_block + head.heads) * head.padded);
    p = v + (key_block + head.heads + 1) * head.padded;
    p_stride = round_to_lanes(longest);
  }
};

// p = softmax(p) over its first `keys` entries.
void soften(float* p, int64_t keys) {
  const int64_t padded = round_to_lanes(keys);
  std::fill(p + keys, p + padded, std::numeric_limits<float>::lowest());
  Lanes top = load(p);
  for (int64_t j = Lanes::width; j < padded; j += Lanes::width) top = larger(top, load(p + j));
  const Lanes largest = splat(reduce_max(top));
  Lanes sum = splat(0);
  for (int64_t j = 0; j < padded; j += Lanes::width) {
    const Lanes e = exp(load(p + j) - largest);
    store(p + j, e);
    sum = sum + e;
  }
  const Lanes inverse = splat(1.0f / reduce_add(sum));
  for (int64_t j = 0; j < padded; j += Lanes::width) store(p + j, load(p + j) * inverse);
}

struct KvHeads {
  int64_t first, count;
};

class RowDecode {
 public:
  RowDecode(const HeadLayout& head, const DecodeShape& shape, const AttentionDecode& io, const DecodeScratch& scratch)
      : head_(head), shape_(shape), io_(io), t_(scratch) {}

  void run(int64_t n, const KvHeads& kv) {
    const int64_t stride = head_.kv_heads * head_.width;
    const int64_t cached = io_.slots_N[n] * shape_.L * stride + kv.first * head_.width;
    const int64_t keys = int64_t{io_.positions_N[n]} + 1;
    const int64_t members = kv.count * head_.group;
    const bf16* q = io_.qkv_NC + head_.q(kv.first);
    for (int64_t member = 0; member < members; ++member) head_.copy_rows({q + member * head_.width, head_.columns}, {n, n, n + 1}, 1, t_.q + member * head_.padded);
    weigh_keys({io_.k_cache + cached, stride}, kv.count, keys);
    mix_values({io_.v_cache + cached, stride}, kv.count, keys);
    bf16* out = io_.out_NHK + n * head_.outputs + head_.q(kv.first);
    for (int64_t member = 0; member < members; ++member) {
      const float* row = t_.out + member * head_.padded;
      for_lanes(head_.width, [&](int64_t d, int64_t count) { store_first(out + member * head_.width + d, count, load(row + d)); });
    }
  }

 private:
  // Sixteen keys at a time: their sums, spread over lanes, turn into one vector of scores. Keys past the last repeat it and are dropped by soften.
  void weigh_keys(const HeadRows& k, int64_t kv_count, int64_t keys) {
    const int64_t members = kv_count * head_.group;
    for (int64_t begin = 0; begin < keys; begin += Lanes::width) {
      fetch(k, kv_count, begin + Lanes::width, keys);
      for (int64_t member = 0; member < members; ++member) {
        const bf16* key = k.at + member / head_.group * head_.width;
        Lanes sums[Lanes::width];
        for (int64_t j = 0; j < Lanes::width; ++j) sums[j] = products(key + std::min(begin + j, keys - 1) * k.stride, t_.q + member * head_.padded);
        store(t_.p + member * t_.p_stride + begin, reduce_add_each(sums) * splat(head_.scale));
      }
    }
    for (int64_t member = 0; member < members; ++member) soften(t_.p + member * t_.p_stride, keys);
  }

  // The next rows lie further apart than the CPU's own prefetchers look.
  void fetch(const HeadRows& rows, int64_t kv_count, int64_t begin, int64_t keys) const {
    constexpr int64_t line = 64 / sizeof(bf16);
    for (int64_t j = begin; j < std::min(begin + Lanes::width, keys); ++j) {
      for (int64_t d = 0; d < kv_count * head_.width; d += line) _mm_prefetch(reinterpret_cast<const char*>(rows.at + j * rows.stride + d), _MM_HINT_T0);
    }
  }

  Lanes products(const bf16* key, const TileElement* q) const {
    Lanes sum = splat(0);
    int64_t d = 0;
    for (; d + tile_chunk <= head_.width; d += tile_chunk) sum = add_products(key + d, q + d, sum);
    if (d == head_.width) return sum;
    std::copy(key + d, key + head_.width, t_.key);
    std::fill(t_.key + head_.width - d, t_.key + tile_chunk, bf16{});
    return add_products(t_.key, q + d, sum);
  }

  void mix_values(const HeadRows& v, int64_t kv_count, int64_t keys) {
    std::fill(t_.out, t_.out + kv_count * head_.group * head_.padded, 0.0f);
    for (int64_t begin = 0; begin < keys; begin += key_block) {
      const Range block{0, begin, std::min(begin + key_block, keys)};
      for (int64_t j = block.end; j < block.end + key_block; j += Lanes::width) fetch(v, kv_count, j, keys);
      for (int64_t kv = 0; kv < kv_count; ++kv) {
        head_.widen_rows({v.at + kv * head_.width, v.stride}, block, t_.v);
        const float* p = t_.p + kv * head_.group * t_.p_stride + begin;
        float* out = t_.out + kv * head_.group * head_.padded;
        tile_gemm({head_.group, head_.padded, block.count(), t_.p_stride, 1, head_.padded, head_.padded, Into::add}, p, t_.v, out);
      }
    }
  }

  const HeadLayout& head_;
  const DecodeShape& shape_;
  const AttentionDecode& io_;
  const DecodeScratch& t_;
};

}  // namespace

Status attention_decode(const DecodeShape& shape, const AttentionDecode& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_indices({"slots_N", io.slots_N, shape.N}, shape.B));
  LIMBECK_TRY(check_indices({"positions_N", io.positions_N, shape.N}, shape.L));
  if (shape.N == 0) return fine();
  const HeadLayout head(shape.heads);
  const int64_t longest = *std::max_element(io.positions_N, io.positions_N + shape.N) + 1;
  const int64_t floats = DecodeScratch::floats(head, longest);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * floats * sizeof(float), &memory));
  const int64_t kv_count = shape.N >= 4 * thread_count() ? head.kv_heads : 1;  // of an item; decides when, not what, is added
  const int64_t items_a_row = head.kv_heads / kv_count;
  parallel_for(shape.N * items_a_row, [&](int64_t item) {
    const DecodeScratch scratch(head, longest, static_cast<float*>(memory) + omp_get_thread_num() * floats);
    RowDecode(head, shape, io, scratch).run(item / items_a_row, {item % items_a_row * kv_count, kv_count});
  });
  return fine();
}

}  // namespace limbeck::cpu
