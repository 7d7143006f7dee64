// attention_row.cpu.cpp -- a unit of work is one kv head over 64 keys: 16 KiB of a cache for heads of 64. Its keys are multiplied while its values come
//   nearer, its values while the next unit's keys do; the caches are read once and from memory, so this is what their speed depends on.
#include "ops/attention_row.h"

#include <algorithm>
#include "core/lanes.h"
#include "core/pair_lanes.h"
#include "core/tile_product.h"
#include "ops/attention_row_parts.h"
#include "ops/attention_row_units.h"

namespace limbeck::cpu {

namespace {

// Members and groups whose sums, with a row of keys or values, fill the registers. Their loops are unrolled, or the sums would live in memory.
constexpr int most_groups = Lanes::parts == 1 ? static_cast<int>(unit_chunks) : 1;
constexpr int most_members = Lanes::parts == 1 ? 6 : 3;
constexpr int most_pairs = Lanes::parts == 1 ? 2 : 1;

struct RowScratch {
  float *out, *scores, *largest, *sum;
  float *wide_q, *rounded, *rest;  // where sums are those of tile units
  TileElement* q;
  bf16* v;
  int64_t columns;                // K rounded up to whole pairs of lanes, of out and v
  int64_t v_chunks[unit_chunks];  // where they stand in v
  static int64_t columns_of(const HeadLayout& head) { return (head.width + pairs_width - 1) / pairs_width * pairs_width; }
  static int64_t members(const HeadLayout& head) { return round_to_lanes(head.heads); }
  static int64_t floats(const HeadLayout& head) { return head.heads * (columns_of(head) + key_block) + 2 * members(head); }
  static int64_t unit_floats(const HeadLayout& head) { return head.by_units ? head.heads * head.width + 2 * head.group * key_block : 0; }
  static int64_t bytes(const HeadLayout& head) {
    return (floats(head) + unit_floats(head)) * sizeof(float) + head.heads * head.padded * sizeof(TileElement) + key_block * columns_of(head) * sizeof(bf16);
  }
  RowScratch(const HeadLayout& head, char* memory) : columns(columns_of(head)) {
    out = reinterpret_cast<float*>(memory);
    scores = out + head.heads * columns;
    largest = scores + head.heads * key_block;
    sum = largest + members(head);
    wide_q = sum + members(head);
    rounded = wide_q + (head.by_units ? head.heads * head.width : 0);
    rest = rounded + (head.by_units ? head.group * key_block : 0);
    q = reinterpret_cast<TileElement*>(wide_q + unit_floats(head));
    v = reinterpret_cast<bf16*>(q + head.heads * head.padded);
    for (int64_t c = 0; c < unit_chunks; ++c) v_chunks[c] = c * page_positions * columns;
  }
};

// scores[members, 16 groups] = q . k
template <int members, int groups>
void weigh_tile(const TileElement* q, int64_t padded, const Keys& keys, float* scores) {
  Lanes sum[members][groups] = {};
  for (int64_t pair = 0; pair < keys.pairs; ++pair) {
    PairLanes k[groups];
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) {
      k[g] = load_pairs(keys.k + keys.chunks[g] + pair * pairs_width);
      fetch_line(keys.ahead + keys.chunks[g], pair);
    }
#pragma GCC unroll 8
    for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) sum[m][g] = add_pair_products(k[g], q + m * padded + 2 * pair, sum[m][g]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) store(scores + m * key_block + g * Lanes::width, sum[m][g]);
  }
}

// out[members, 32 pairs] += weights . v, pairs apart: sixteen firsts, then sixteen seconds.
template <int members, int pairs>
void mix_tile(const float* weights, const Values& values, int64_t columns, float* out) {
  Lanes sum[members][2 * pairs];
#pragma GCC unroll 8
  for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
    for (int p = 0; p < 2 * pairs; ++p) sum[m][p] = load(out + m * columns + p * Lanes::width);
  }
  for (int64_t begin = 0; begin < values.count; begin += page_positions) {
    const int64_t chunk = begin / page_positions, rows = std::min(page_positions, values.count - begin);
    const bf16* from = values.v + values.chunks[chunk];
    const bf16* ahead = values.ahead + values.chunks_ahead[chunk];
    for (int64_t row = 0; row < rows; ++row, from += values.width) {
      for (int64_t line = 0; line < values.lines; ++line) fetch_line(ahead, row * values.lines + line);
      Lanes v[2 * pairs];
#pragma GCC unroll 8
      for (int p = 0; p < pairs; ++p) {
        const PairLanes both = load_pairs(from + p * pairs_width);
        v[2 * p] = firsts(both);
        v[2 * p + 1] = seconds(both);
      }
#pragma GCC unroll 8
      for (int m = 0; m < members; ++m) {
        const Lanes weight = splat(weights[m * key_block + begin + row]);
#pragma GCC unroll 8
        for (int p = 0; p < 2 * pairs; ++p) sum[m][p] = multiply_add(weight, v[p], sum[m][p]);
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
    for (int p = 0; p < 2 * pairs; ++p) store(out + m * columns + p * Lanes::width, sum[m][p]);
  }
}

template <int members, int groups>
void pick_groups(int64_t count, const TileElement* q, int64_t padded, const Keys& keys, float* scores) {
  if constexpr (groups > 1) {
    if (count < groups) return pick_groups<members, groups - 1>(count, q, padded, keys, scores);
  }
  weigh_tile<members, groups>(q, padded, keys, scores);
}

template <int members>
void weigh_members(int64_t count, int64_t groups, const TileElement* q, int64_t padded, const Keys& keys, float* scores) {
  if constexpr (members > 1) {
    if (count < members) return weigh_members<members - 1>(count, groups, q, padded, keys, scores);
  }
  for (int64_t group = 0; group < groups; group += most_groups) pick_groups<members, most_groups>(groups - group, q, padded, keys.from(group), scores + group * Lanes::width);
}

template <int members, int pairs>
void pick_pairs(int64_t count, const float* weights, const Values& values, int64_t padded, float* out) {
  if constexpr (pairs > 1) {
    if (count < pairs) return pick_pairs<members, pairs - 1>(count, weights, values, padded, out);
  }
  mix_tile<members, pairs>(weights, values, padded, out);
}

template <int members>
void mix_members(int64_t count, int64_t pairs, const float* weights, const Values& values, int64_t padded, float* out) {
  if constexpr (members > 1) {
    if (count < members) return mix_members<members - 1>(count, pairs, weights, values, padded, out);
  }
  pick_pairs<members, most_pairs>(pairs, weights, values, padded, out);
}

class RowForward {
 public:
  RowForward(const HeadLayout& head, const CacheLayout& cache, const AttentionDecode& io, const RowsOfHeads& rows, RowWorker& worker)
      : head_(head), cache_(cache), io_(io), rows_(rows), worker_(worker), t_(head, worker.scratch) {}

  void run() {
    const Unit first = unit(rows_.begin, 0, 0);
    if (io_.k_cache + first.chunks[0] != worker_.asked_for) fetch_keys(first, 0);
    for (int64_t row = rows_.begin; row < rows_.end; ++row) {
      begin(row);
      for (int64_t key = 0; key < keys_of(row); key += key_block) {
        for (int64_t i = 0; i < rows_.heads.count; ++i) attend(unit(row, key, i));
      }
      finish(row);
    }
  }

 private:
  struct Unit {
    int64_t row, key, head;       // head counts from the first
    int64_t chunks[unit_chunks];  // where they stand in either cache
  };

  Unit unit(int64_t row, int64_t key, int64_t head) const {
    Unit made{row, key, head, {}};
    for (int64_t c = 0; c < unit_chunks; ++c) {
      const int64_t page = std::min(key / page_positions + c, (keys_of(row) - 1) / page_positions);  // behind the last nothing is read
      made.chunks[c] = cache_.at(io_.slots_N[row], rows_.heads.first + head, page);
    }
    return made;
  }

  int64_t keys_of(int64_t row) const { return int64_t{io_.positions_N[row]} + 1; }

  // Itself, where nothing is known to follow.
  Unit after(const Unit& now) const {
    if (now.head + 1 < rows_.heads.count) return unit(now.row, now.key, now.head + 1);
    if (now.key + key_block < keys_of(now.row)) return unit(now.row, now.key + key_block, 0);
    if (now.row + 1 < rows_.end) return unit(now.row + 1, 0, 0);
    return rows_.next ? unit(rows_.next->row, 0, rows_.next->kv_head - rows_.heads.first) : now;
  }

  int64_t count_of(const Unit& unit) const { return std::min(key_block, keys_of(unit.row) - unit.key); }

  // Lines of a unit's keys, but those that were fetched with so many rows of values.
  void fetch_keys(const Unit& unit, int64_t rows) const {
    const int64_t lines = lines_a_row(), end = (count_of(unit) + page_positions - 1) / page_positions * page_positions;
    for (int64_t row = rows; row < end; ++row) {
      for (int64_t line = 0; line < lines; ++line) fetch_line(io_.k_cache + unit.chunks[row / page_positions], row % page_positions * lines + line);
    }
  }

  int64_t lines_a_row() const { return (head_.width + values_a_line - 1) / values_a_line; }

  void begin(int64_t row) {
    const int64_t members = rows_.heads.count * head_.group;
    const bf16* q = io_.qkv_NC + head_.q(rows_.heads.first);
    for (int64_t member = 0; member < members; ++member) {
      if (head_.by_units) head_.widen(q + row * head_.columns + member * head_.width, t_.wide_q + member * head_.width);
      else head_.copy_rows({q + member * head_.width, head_.columns}, {row, row, row + 1}, 1, t_.q + member * head_.padded);
    }
    std::fill(t_.out, t_.out + members * t_.columns, 0.0f);
    std::fill(t_.largest, t_.largest + members, unseen);
    std::fill(t_.sum, t_.sum + members, 0.0f);
  }

  void attend(const Unit& unit) {
    const int64_t count = count_of(unit), first = unit.head * head_.group;
    weigh(unit, count, first);
    for (int64_t member = first; member < first + head_.group; ++member) soften(t_.scores + member * key_block, count, member);
    const Unit next = after(unit);
    mix(unit, next, count, first);
    fetch_keys(next, count);
    worker_.asked_for = io_.k_cache + next.chunks[0];
  }

  void weigh(const Unit& unit, int64_t count, int64_t first) {
    const Keys keys{io_.k_cache, io_.v_cache, unit.chunks, head_.width / 2};
    const int64_t groups = round_to_lanes(count) / Lanes::width;
    if (head_.by_units) {
      for (int64_t member = 0; member < head_.group; member += most_unit_members) {
        weigh_members_as_units<most_unit_members>(head_.group - member, groups, t_.wide_q + (first + member) * head_.width, head_.width, keys, t_.scores + (first + member) * key_block);
      }
      return;
    }
    for (int64_t member = 0; member < head_.group; member += most_members) {
      weigh_members<most_members>(head_.group - member, groups, t_.q + (first + member) * head_.padded, head_.padded, keys, t_.scores + (first + member) * key_block);
    }
  }

  // scores = exp(score - largest so far), 0 behind the last key, where the cache holds anything; what the head has summed before is rescaled.
  void soften(float* scores, int64_t count, int64_t member) {
    const int64_t padded = round_to_lanes(count);
    std::fill(scores + count, scores + padded, unseen);
    const Lanes before = splat(t_.largest[member]);
    Lanes best = before;
    for (int64_t j = 0; j < padded; j += Lanes::width) best = larger(load(scores + j), best);
    const Lanes top = splat(reduce_max(best));
    const Lanes scale = splat(head_.scale);
    const Lanes shift = splat(0) - top * scale;
    Lanes sums = splat(0);
    for (int64_t j = 0; j < padded; j += Lanes::width) {
      const Lanes e = exp(multiply_add(load(scores + j), scale, shift));
      store(scores + j, e);
      sums = sums + e;
    }
    const Lanes shrink = exp((before - top) * scale);
    store_first(t_.sum + member, 1, multiply_add(splat(t_.sum[member]), shrink, splat(reduce_add(sums))));
    store_first(t_.largest + member, 1, top);
    if (!any_above(top, before)) return;
    float* out = t_.out + member * t_.columns;
    for (int64_t d = 0; d < t_.columns; d += Lanes::width) store(out + d, load(out + d) * shrink);
  }

  // The group's probabilities as tile units take them.
  SplitWeights split(int64_t count, int64_t first) {
    for (int64_t member = 0; member < head_.group; ++member) {
      for (int64_t key = 0; key < count; key += Lanes::width) {
        const int64_t at = member * key_block + key;
        const Lanes weight = load(t_.scores + first * key_block + at);
        const Lanes rounded = as_bf16(weight);
        store(t_.rounded + at, rounded);
        store(t_.rest + at, as_bf16(weight - rounded));
      }
    }
    return {t_.rounded, t_.rest};
  }

  void mix(const Unit& unit, const Unit& next, int64_t count, int64_t first) {
    Values values{io_.v_cache, unit.chunks, io_.k_cache, next.chunks, count, head_.width, lines_a_row()};
    if (head_.by_units) {
      const SplitWeights weights = split(count, first);
      for (int64_t member = 0; member < head_.group; member += most_unit_members) {
        mix_members_as_units<most_unit_members>(head_.group - member, weights.from(member), values, t_.columns, t_.out + (first + member) * t_.columns);
      }
      return;
    }
    if (head_.width % pairs_width != 0) pad_values(values);
    for (int64_t member = 0; member < head_.group; member += most_members) {
      const float* weights = t_.scores + (first + member) * key_block;
      float* out = t_.out + (first + member) * t_.columns;
      for (int64_t d = 0; d < t_.columns; d += most_pairs * pairs_width) {
        Values part = values;
        part.v = values.v + d;
        mix_members<most_members>(head_.group - member, (t_.columns - d) / pairs_width, weights, part, t_.columns, out + d);
        values.lines = 0;
      }
    }
  }

  // Rows that end between sixteen pairs are copied to where zeros follow them.
  void pad_values(Values& values) {
    for (int64_t j = 0; j < values.count; ++j) {
      const bf16* from = values.v + values.chunks[j / page_positions] + j % page_positions * values.width;
      bf16* to = t_.v + j * t_.columns;
      std::copy(from, from + head_.width, to);
      std::fill(to + head_.width, to + t_.columns, bf16{});
    }
    values.v = t_.v;
    values.chunks = t_.v_chunks;
    values.width = t_.columns;
  }

  void finish(int64_t row) {
    const int64_t members = rows_.heads.count * head_.group;
    bf16* out = io_.out_NHK + row * head_.outputs + head_.q(rows_.heads.first);
    for (int64_t member = 0; member < members; ++member) {
      const Lanes inverse = splat(1) / splat(t_.sum[member]);
      for (int64_t d = 0; d < head_.width; d += pairs_width) {
        const float* from = t_.out + member * t_.columns + d;
        bf16 pairs[pairs_width];
        const Lanes first = load(from) * inverse, second = load(from + Lanes::width) * inverse;
        store_pairs(pairs, first, second);
        std::copy(pairs, pairs + std::min(pairs_width, head_.width - d), out + member * head_.width + d);
      }
    }
  }

  const HeadLayout& head_;
  const CacheLayout& cache_;
  const AttentionDecode& io_;
  const RowsOfHeads& rows_;
  RowWorker& worker_;
  const RowScratch t_;
};

}  // namespace

int64_t attention_row_bytes(const HeadLayout& head) { return RowScratch::bytes(head); }

void attend_rows(const HeadLayout& head, const CacheLayout& cache, const AttentionDecode& io, const RowsOfHeads& rows, RowWorker& worker) {
  RowForward(head, cache, io, rows, worker).run();
}

}  // namespace limbeck::cpu
