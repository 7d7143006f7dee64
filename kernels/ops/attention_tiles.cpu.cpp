#include "ops/attention_tiles.h"

#include <algorithm>
#include <cmath>
#include <string>
#include "core/build_info.h"
#include "core/lanes.h"
#include "core/transpose.h"
#include "ops/kv_cache.h"
#ifdef __AVX512BF16__
#include "core/pair_square.h"
#endif

namespace limbeck::cpu {

namespace {

int64_t round_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

template <typename Element>
void copy_head(const bf16* from, int64_t width, Element* to) {
  if constexpr (sizeof(Element) == sizeof(bf16)) std::memcpy(to, from, static_cast<size_t>(width) * sizeof(bf16));
  else for_lanes(width, [&](int64_t d, int64_t count) { store_first(to + d, count, load_first(from + d, count)); });
}

}  // namespace

HeadLayout::HeadLayout(const HeadShape& shape)
    : heads(shape.Hq),
      kv_heads(shape.Hkv),
      width(shape.K),
      depth(round_up(shape.K, tile_depth)),
      padded(round_up(shape.K, tile_depth * transpose_extent)),
      group(shape.Hq / shape.Hkv),
      columns((shape.Hq + 2 * shape.Hkv) * shape.K),
      outputs(shape.Hq * shape.K),
      scale(1.0f / std::sqrt(static_cast<float>(shape.K))),
      by_units(has_tile_products() && shape.K % unit_depth == 0) {}

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

int64_t HeadLayout::query_columns(const Range& queries) const { return group * round_to_lanes(queries.count()); }

void HeadLayout::copy_rows(const HeadRows& source, const Range& range, int64_t rows, TileElement* to) const {
  for (int64_t j = range.begin; j < range.end; ++j, to += padded) {
    copy_head(source.at + j * source.stride, width, to);
    std::fill(to + width, to + padded, TileElement{});
  }
  std::fill(to, to + (rows - range.count()) * padded, TileElement{});
}

void HeadLayout::turn_rows(const HeadRows& source, const Range& range, TileElement* to) const {
  const bf16* from = source.at + range.begin * source.stride;
#ifdef __AVX512BF16__
  straighten(from, source.stride, range.count(), width, to, key_block);
#else
  for (int64_t d = 0; d < width; ++d) {
    for (int64_t j = 0; j < range.count(); ++j) to[d * key_block + j] = to_float(from[j * source.stride + d]);
    std::fill(to + d * key_block + range.count(), to + (d + 1) * key_block, TileElement{});
  }
#endif
}

void HeadLayout::copy_chunk(const bf16* chunk, TileElement* to) const {
  if constexpr (sizeof(TileElement) == sizeof(bf16)) {
    constexpr int64_t words = transpose_extent;
    for (int64_t word = 0; word + words <= width / 2; word += words) transpose_words(chunk + word * 2 * page_positions, page_positions, words, to + 2 * word, padded / 2);
  }
  const int64_t turned = sizeof(TileElement) == sizeof(bf16) ? width / (2 * transpose_extent) * (2 * transpose_extent) : 0;
  for (int64_t d = turned; d < width; d += 2) {
    for (int64_t position = 0; position < page_positions; ++position) copy_head(chunk + d * page_positions + 2 * position, 2, to + position * padded + d);
  }
}

void HeadLayout::copy_group(const HeadRows& source, const Range& range, TileElement* to) const {
  const int64_t rows = round_to_lanes(range.count());
  for (int64_t member = 0; member < group; ++member) copy_rows({source.at + member * width, source.stride}, range, rows, to + member * rows * padded);
}

void HeadLayout::widen(const bf16* from, float* to) const {
  for_lanes(padded, [&](int64_t d, int64_t) {
    store(to + d, d < width ? load_first(from + d, std::min<int64_t>(width - d, Lanes::width)) : splat(0));
  });
}

void HeadLayout::widen_rows(const HeadRows& source, const Range& range, float* to) const {
  for (int64_t j = range.begin; j < range.end; ++j, to += padded) widen(source.at + j * source.stride, to);
}

void HeadLayout::pack_across(const TileElement* rows_RK, int64_t rows, TileElement* to) const {
  const int64_t words = padded / tile_depth;
  for (int64_t row = 0; row < rows; row += transpose_extent) {
    for (int64_t word = 0; word < words; word += transpose_extent) {
      transpose_words(rows_RK + row * padded + word * tile_depth, words, transpose_extent, to + (word * rows + row) * tile_depth, rows);
    }
  }
}

void HeadLayout::pack_along(const TileElement* rows_RK, int64_t rows, TileElement* to) const {
  for (int64_t row = 0; row < rows; row += tile_depth) {
    const TileElement* from = rows_RK + row * padded;
    if constexpr (tile_depth == 1) {
      std::copy(from, from + padded, to + row * padded);
    } else {
      for (int64_t d = 0; d < padded; ++d) {
        to[row * padded + 2 * d] = from[d];
        to[row * padded + 2 * d + 1] = from[padded + d];
      }
    }
  }
}

void HeadLayout::write_group(float* from, const Range& range, float factor, bf16* to, int64_t stride) const {
  const int64_t tile_columns = query_columns(range);
  const int64_t span = tile_columns / group;
  alignas(64) float turned[transpose_extent * transpose_extent];
  for (int64_t column = 0; column < tile_columns; column += transpose_extent) {
    const int64_t begin = column % span;
    const int64_t count = std::min(range.count() - begin, transpose_extent);
    bf16* rows = to + (range.begin + begin) * stride + column / span * width;
    for (int64_t d = 0; d < width; d += transpose_extent) {
      transpose_words(from + d * tile_columns + column, tile_columns, transpose_extent, turned, transpose_extent);
      for (int64_t i = 0; i < count; ++i) {
        store_first(rows + i * stride + d, std::min(width - d, transpose_extent), load(turned + i * transpose_extent) * splat(factor));
      }
    }
  }
}

}  // namespace limbeck::cpu
