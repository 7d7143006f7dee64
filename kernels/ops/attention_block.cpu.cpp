// attention_block.cpu.cpp -- walks the keys up to the block's diagonal with a running softmax (Milakov & Gimelshein 2018), so the group's heads share each
//   block of keys and values. Scores are exact products of bf16; the probabilities and values of the second product stay float32, because rounding
//   probabilities to bf16 costs more accuracy than all else here together. Tile units, which multiply bf16 alone, take a probability as the sum of two.
#include "ops/attention_block.h"

#include <algorithm>
#include <cmath>
#include "core/lanes.h"
#include "core/tile_gemm.h"

namespace limbeck::cpu {

namespace {

// Each part a whole number of cache lines.
struct BlockScratch {
  float *scores, *out, *v, *largest, *sum, *position;
  TileElement *q_rows, *q, *k, *v_turned, *p, *p_rest;
  bf16* v_rows;
  static int64_t floats(const HeadLayout& head) { return head.most_queries() * (key_block + head.padded + 3) + key_block * head.padded; }
  static int64_t elements(const HeadLayout& head) { return (2 * head.most_queries() + 3 * key_block) * head.padded + 2 * head.most_queries() * key_block; }
  static int64_t bytes(const HeadLayout& head) { return floats(head) * sizeof(float) + elements(head) * sizeof(TileElement); }
  BlockScratch(const HeadLayout& head, char* memory) {
    scores = reinterpret_cast<float*>(memory);
    out = scores + head.most_queries() * key_block;
    v = out + head.most_queries() * head.padded;
    largest = v + key_block * head.padded;
    sum = largest + head.most_queries();
    position = sum + head.most_queries();
    q_rows = reinterpret_cast<TileElement*>(position + head.most_queries());
    q = q_rows + head.most_queries() * head.padded;
    k = q + head.most_queries() * head.padded;
    v_turned = k + key_block * head.padded;
    p = v_turned + key_block * head.padded;
    p_rest = p + head.most_queries() * key_block;
    v_rows = reinterpret_cast<bf16*>(p_rest + head.most_queries() * key_block);
  }
};

class BlockForward {
 public:
  BlockForward(const HeadLayout& head, const AttentionBlock& block, const BlockScratch& scratch)
      : head_(head), block_(block), t_(scratch), queries_(block.queries), columns_(head.query_columns(block.queries)) {}

  void run() {
    head_.copy_group(block_.q, rows(), t_.q_rows);
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
  Range rows() const { return {block_.row, block_.row, block_.row + queries_.count()}; }

  int64_t position_of(int64_t column) const { return queries_.begin + column % (columns_ / head_.group); }

  void attend_to(const Range& keys) {
    if (head_.by_units) return attend_by_units(keys);
    if (block_.keys.cache) {
      copy_chunks(keys);
    } else {
      head_.copy_rows(block_.keys.k, keys, keys.count(), t_.k);
      head_.widen_rows(block_.keys.v, keys, t_.v);
    }
    tile_product({keys.count(), columns_, head_.depth, head_.padded, columns_, columns_}, t_.k, t_.q, t_.scores);
    for (int64_t column = 0; column < columns_; column += Lanes::width) soften_lanes(keys, column);
    tile_gemm({head_.width, columns_, keys.count(), 1, head_.padded, columns_, columns_, Into::add}, t_.v, t_.scores, t_.out);
  }

  // Keys are rounded up to whole steps; what stands behind them gets no probability.
  void attend_by_units(const Range& keys) {
    const int64_t rows = (keys.count() + unit_depth - 1) / unit_depth * unit_depth;
    if (block_.keys.cache) {
      each_chunk(keys, [&](int64_t page, int64_t row) {
        const int64_t chunk = block_.keys.chunk(page);
        head_.copy_chunk(block_.keys.k.at + chunk, t_.k + row);
        std::copy_n(block_.keys.v.at + chunk, page_positions * head_.width, t_.v_rows + row);
      });
      head_.turn_rows({t_.v_rows, head_.width}, {0, 0, keys.count()}, t_.v_turned);
    } else {
      head_.copy_rows(block_.keys.k, keys, rows, t_.k);
      head_.turn_rows(block_.keys.v, keys, t_.v_turned);
    }
    unit_product({rows, columns_, head_.depth, head_.padded, columns_, columns_}, t_.k, t_.q, t_.scores);
    for (int64_t column = 0; column < columns_; column += Lanes::width) {
      soften_lanes(keys, column);
      split_lanes(keys.count(), rows, column);
    }
    const ProductShape onto{head_.width, columns_, rows, key_block, columns_, columns_, Into::add};
    unit_product(onto, t_.v_turned, t_.p, t_.out);
    unit_product(onto, t_.v_turned, t_.p_rest, t_.out);
  }

  void split_lanes(int64_t count, int64_t rows, int64_t column) {
    for (int64_t j = 0; j < rows; j += tile_depth) {
      Lanes p[tile_depth];
      for (int64_t i = 0; i < tile_depth; ++i) p[i] = j + i < count ? load(t_.scores + (j + i) * columns_ + column) : splat(0);
      const int64_t at = j * columns_ + column * tile_depth;
      split_tile_rows(p, t_.p + at, t_.p_rest + at);
    }
  }

  void copy_chunks(const Range& keys) {
    each_chunk(keys, [&](int64_t page, int64_t row) {
      const int64_t chunk = block_.keys.chunk(page);
      head_.copy_chunk(block_.keys.k.at + chunk, t_.k + row);
      head_.widen_rows({block_.keys.v.at + chunk, head_.width}, {0, 0, std::min(page_positions, keys.end - page * page_positions)}, t_.v + row);
    });
  }

  // Calls body(page, where its first row stands among padded rows).
  template <typename Body>
  void each_chunk(const Range& keys, const Body& body) const {
    for (int64_t begin = keys.begin; begin < keys.end; begin += page_positions) body(begin / page_positions, (begin - keys.begin) * head_.padded);
  }

  // Turns sixteen columns of scores into exp(score - largest), with 0 for keys behind the query, and rescales what the columns have summed so far.
  void soften_lanes(const Range& keys, int64_t column) {
    float* scores = t_.scores + column;
    const Lanes before = load(t_.largest + column);
    const Lanes top = keys.end > queries_.begin + 1 ? hide_later(keys, column, before) : largest_of(keys, column, before);
    const Lanes scale = splat(head_.scale);
    const Lanes shift = splat(0) - top * scale;
    Lanes sums[Lanes::width] = {};
    for (int64_t j = 0; j < keys.count(); j += Lanes::width) {
      for (int64_t lane = 0; lane < std::min<int64_t>(keys.count() - j, Lanes::width); ++lane) {
        float* score = scores + (j + lane) * columns_;
        const Lanes e = exp(multiply_add(load(score), scale, shift));
        store(score, e);
        sums[lane] = sums[lane] + e;
      }
    }
    const Lanes shrink = exp((before - top) * scale);
    store(t_.sum + column, multiply_add(load(t_.sum + column), shrink, fold(sums)));
    if (!any_above(top, before)) return;
    store(t_.largest + column, top);
    scale_column(column, shrink);
  }

  // In the order in which reduce_add adds sixteen keys that lie in lanes, as they do in the decode.
  static Lanes fold(Lanes (&sums)[Lanes::width]) {
    for (int64_t half = Lanes::width / 2; half > 0; half /= 2) {
      for (int64_t lane = 0; lane < half; ++lane) sums[lane] = sums[lane] + sums[lane + half];
    }
    return sums[0];
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
    head_.write_group(t_.out, rows(), 1, block_.out, head_.outputs);
    if (!block_.lse) return;
    const int64_t span = columns_ / head_.group;
    for (int64_t member = 0; member < head_.group; ++member) {
      for (int64_t i = 0; i < queries_.count(); ++i) {
        const int64_t column = member * span + i;
        block_.lse[(block_.row + i) * head_.heads + member] = t_.largest[column] * head_.scale + std::log(t_.sum[column]);
      }
    }
  }

  const HeadLayout& head_;
  const AttentionBlock& block_;
  const BlockScratch& t_;
  const Range queries_;
  const int64_t columns_;
};

}  // namespace

int64_t attention_block_bytes(const HeadLayout& head) { return BlockScratch::bytes(head); }

void attend_block(const HeadLayout& head, const AttentionBlock& block, char* scratch) { BlockForward(head, block, BlockScratch(head, scratch)).run(); }

}  // namespace limbeck::cpu
