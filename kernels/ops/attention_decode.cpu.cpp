// attention_decode.cpu.cpp -- one query row a slot. One item of work is (row, kv head): the group's heads share each widened row of the cache.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tile_gemm.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_tiles.h"

namespace limbeck::cpu {

namespace {

struct DecodeScratch {
  float *q, *out, *key, *v, *p;
  int64_t p_stride;
  static int64_t floats(const HeadLayout& head, int64_t longest) {
    return (2 * head.group + 1 + key_block) * head.padded + head.group * round_to_lanes(longest);
  }
  DecodeScratch(const HeadLayout& head, int64_t longest, float* memory) {
    q = memory;
    out = q + head.group * head.padded;
    key = out + head.group * head.padded;
    v = key + head.padded;
    p = v + key_block * head.padded;
    p_stride = round_to_lanes(longest);
  }
};

Status check_rows(const DecodeShape& shape, const AttentionDecode& io) {
  for (int64_t n = 0; n < shape.N; ++n) {
    if (io.slots_N[n] < 0 || io.slots_N[n] >= shape.B) {
      return refuse(Code::bad_value, "slots_N[" + std::to_string(n) + "] is " + std::to_string(io.slots_N[n]) + "; the cache has " +
                                         std::to_string(shape.B) + " slots");
    }
    if (io.positions_N[n] < 0 || io.positions_N[n] >= shape.L) {
      return refuse(Code::bad_value, "positions_N[" + std::to_string(n) + "] is " + std::to_string(io.positions_N[n]) + "; a slot of the cache has " +
                                         std::to_string(shape.L) + " rows");
    }
  }
  return fine();
}

float dot(const float* a, const float* b, int64_t padded) {
  Lanes sum = splat(0);
  for (int64_t d = 0; d < padded; d += Lanes::width) sum = multiply_add(load(a + d), load(b + d), sum);
  return reduce_add(sum);
}

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

// One row's group of heads over cache rows [0, keys) of its slot, into t.out.
void decode_group(const HeadLayout& head, const DecodeScratch& t, HeadRows k, HeadRows v, int64_t keys) {
  for (int64_t j = 0; j < keys; ++j) {
    widen(head, k.at + j * k.stride, t.key);
    for (int64_t member = 0; member < head.group; ++member) {
      t.p[member * t.p_stride + j] = dot(t.q + member * head.padded, t.key, head.padded);
    }
  }
  for (int64_t member = 0; member < head.group; ++member) soften(t.p + member * t.p_stride, keys);
  std::fill(t.out, t.out + head.group * head.padded, 0.0f);
  for (int64_t begin = 0; begin < keys; begin += key_block) {
    const Range block{0, begin, std::min(begin + key_block, keys)};
    widen_keys(head, v, block, t.v);
    tile_gemm({head.group, head.padded, block.count(), t.p_stride, 1, head.padded, head.padded, Into::add}, t.p + begin, t.v, t.out);
  }
}

void decode_item(const DecodeShape& shape, const HeadLayout& head, const DecodeScratch& t, const AttentionDecode& io, int64_t n, int64_t kv_head) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head.width));
  const int64_t stride = head.kv_heads * head.width;
  const int64_t slot = io.slots_N[n] * shape.L * stride + kv_head * head.width;
  widen_group(head, {io.qkv_NC + head.q(kv_head), head.columns}, {n, n, n + 1}, scale, t.q);
  decode_group(head, t, {io.k_cache + slot, stride}, {io.v_cache + slot, stride}, int64_t{io.positions_N[n]} + 1);
  bf16* out = io.out_NHK + n * head.outputs + head.q(kv_head);
  for (int64_t member = 0; member < head.group; ++member) {
    for (int64_t d = 0; d < head.width; ++d) out[member * head.width + d] = to_bf16(t.out[member * head.padded + d]);
  }
}

}  // namespace

Status attention_decode(const DecodeShape& shape, const AttentionDecode& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_rows(shape, io));
  if (shape.N == 0) return fine();
  const HeadLayout head(shape.heads);
  const int64_t longest = *std::max_element(io.positions_N, io.positions_N + shape.N) + 1;
  const int64_t floats = DecodeScratch::floats(head, longest);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * floats * sizeof(float), &memory));
  parallel_for(shape.N * head.kv_heads, [&](int64_t item) {
    const DecodeScratch scratch(head, longest, static_cast<float*>(memory) + omp_get_thread_num() * floats);
    decode_item(shape, head, scratch, io, item / head.kv_heads, item % head.kv_heads);
  });
  return fine();
}

}  // namespace limbeck::cpu
