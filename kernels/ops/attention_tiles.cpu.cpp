#include "ops/attention_tiles.h"

#include <algorithm>
#include <string>
#include "core/lanes.h"

namespace limbeck::cpu {

HeadLayout::HeadLayout(const HeadShape& shape)
    : heads(shape.Hq),
      kv_heads(shape.Hkv),
      width(shape.K),
      padded(round_to_lanes(shape.K)),
      group(shape.Hq / shape.Hkv),
      columns((shape.Hq + 2 * shape.Hkv) * shape.K),
      outputs(shape.Hq * shape.K),
      rows(group * query_block) {}

Status check_heads(const HeadShape& shape) {
  if (shape.Hq >= 1 && shape.Hkv >= 1 && shape.K >= 1 && shape.Hq % shape.Hkv == 0) return fine();
  return refuse(Code::bad_shape, "heads must be a multiple of kvHeads and none may be 0; got " + std::to_string(shape.Hq) + " heads, " +
                                     std::to_string(shape.Hkv) + " kvHeads of width " + std::to_string(shape.K));
}

Status check_sequences(const AttentionShape& shape, const int32_t* cu_seqlens_S1) {
  int64_t last = 0;
  for (int64_t s = 0; s <= shape.sequences; ++s) {
    const int64_t next = cu_seqlens_S1[s];
    if (next < last || (s == 0 && next != 0)) {
      return refuse(Code::bad_value, "cuSeqlens_S1[" + std::to_string(s) + "] is " + std::to_string(next) + "; it must ascend from 0");
    }
    last = next;
  }
  if (last == shape.N) return fine();
  return refuse(Code::bad_value, "cuSeqlens_S1 ends at " + std::to_string(last) + "; it must end at the number of rows, " + std::to_string(shape.N));
}

std::vector<Range> cut_sequences(const AttentionShape& shape, const int32_t* cu_seqlens_S1, int64_t block) {
  std::vector<Range> ranges;
  for (int64_t s = 0; s < shape.sequences; ++s) {
    const int64_t first = cu_seqlens_S1[s];
    const int64_t end = cu_seqlens_S1[s + 1];
    for (int64_t begin = first; begin < end; begin += block) ranges.push_back({first, begin, std::min(begin + block, end)});
  }
  return ranges;
}

void HeadLayout::widen(const bf16* from, float scale, float* to) const {
  for_lanes(width, [&](int64_t d, int64_t count) { store(to + d, load_first(from + d, count) * splat(scale)); });
}

void HeadLayout::widen_group(const HeadRows& source, const Range& range, float* tile) const {
  for (int64_t member = 0; member < group; ++member) {
    for (int64_t i = range.begin; i < range.end; ++i, tile += padded) widen(source.at + i * source.stride + member * width, source.scale, tile);
  }
}

void HeadLayout::widen_keys(const HeadRows& source, const Range& range, float* tile) const {
  for (int64_t j = range.begin; j < range.end; ++j, tile += padded) widen(source.at + j * source.stride, source.scale, tile);
}

void HeadLayout::widen_keys_transposed(const HeadRows& source, const Range& range, float* tile) const {
  const int64_t padded_count = round_to_lanes(range.count());
  for (int64_t j = 0; j < range.count(); ++j) {
    const bf16* row = source.at + (range.begin + j) * source.stride;
    for (int64_t d = 0; d < width; ++d) tile[d * key_block + j] = to_float(row[d]) * source.scale;
  }
  for (int64_t d = 0; d < width; ++d) std::fill(tile + d * key_block + range.count(), tile + d * key_block + padded_count, 0.0f);
}

void HeadLayout::narrow(const float* from, float scale, bf16* to) const {
  for_lanes(width, [&](int64_t d, int64_t count) { store_first(to + d, count, load(from + d) * splat(scale)); });
}

}  // namespace limbeck::cpu
