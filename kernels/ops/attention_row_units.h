// attention_row_units.h -- what a decoded row multiplies where blocks of the forward take tile units. By vectors all the same, for a row has too little for a tile:
//   loading and storing tiles takes longer than their products. Sums are those of tile units (amx_tile.h): over every 32 values from zero, those at even and at
//   odd places apart, then both together added to what was there.
#pragma once
#include <algorithm>
#include <cstdint>
#include "core/pair_lanes.h"
#include "ops/attention_row_parts.h"
#include "ops/attention_tiles.h"

namespace limbeck::cpu {

constexpr int64_t step_pairs = unit_depth / 2;
// Members and groups whose sums fill the registers.
constexpr int most_unit_members = 3;
constexpr int most_unit_groups = Lanes::parts == 1 ? 2 : 1;

// scores[members, 16 groups] = q . k, q widened.
template <int members, int groups>
void weigh_tile_as_units(const float* q, int64_t q_stride, const Keys& keys, float* scores) {
  Lanes sum[members][groups] = {};
  for (int64_t begin = 0; begin < keys.pairs; begin += step_pairs) {
    Lanes even[members][groups] = {}, odd[members][groups] = {};
    for (int64_t pair = begin; pair < begin + step_pairs; ++pair) {
      Lanes first[groups], second[groups];
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) {
        const PairLanes k = load_pairs(keys.k + keys.chunks[g] + pair * pairs_width);
        fetch_line(keys.ahead + keys.chunks[g], pair);
        first[g] = firsts(k);
        second[g] = seconds(k);
      }
#pragma GCC unroll 8
      for (int m = 0; m < members; ++m) {
        const Lanes low = splat(q[m * q_stride + 2 * pair]), high = splat(q[m * q_stride + 2 * pair + 1]);
#pragma GCC unroll 8
        for (int g = 0; g < groups; ++g) {
          even[m][g] = multiply_add(low, first[g], even[m][g]);
          odd[m][g] = multiply_add(high, second[g], odd[m][g]);
        }
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
      for (int g = 0; g < groups; ++g) sum[m][g] = sum[m][g] + (even[m][g] + odd[m][g]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
    for (int g = 0; g < groups; ++g) store(scores + m * key_block + g * Lanes::width, sum[m][g]);
  }
}

// Probabilities of a group's members, [members, key_block] each: the nearest bf16, widened, and the bf16 nearest to what is left.
struct SplitWeights {
  const float *rounded, *rest;
  SplitWeights from(int64_t member) const { return {rounded + member * key_block, rest + member * key_block}; }
  SplitWeights at(int64_t key) const { return {rounded + key, rest + key}; }
};

// Sums of 32 columns over one step of keys, by either half of the weights: firsts of pairs of columns, then seconds.
template <int members>
struct StepSums {
  Lanes even[2][members][2] = {}, odd[2][members][2] = {};

  template <typename Sums>
  static void add(const SplitWeights& weights, int64_t key, const PairLanes& columns, Sums& sums) {
    const Lanes first = firsts(columns), second = seconds(columns);
#pragma GCC unroll 8
    for (int m = 0; m < members; ++m) {
      const Lanes rounded = splat(weights.rounded[m * key_block + key]), rest = splat(weights.rest[m * key_block + key]);
      sums[0][m][0] = multiply_add(rounded, first, sums[0][m][0]);
      sums[0][m][1] = multiply_add(rounded, second, sums[0][m][1]);
      sums[1][m][0] = multiply_add(rest, first, sums[1][m][0]);
      sums[1][m][1] = multiply_add(rest, second, sums[1][m][1]);
    }
  }
};

// out[members, 32] += weights . v over a unit's keys, columns [32 block, 32 block + 32), pairs apart.
template <int members>
void mix_block_as_units(const SplitWeights& weights, const Values& values, int64_t block, int64_t out_stride, float* out) {
  constexpr int64_t most_steps = key_block / unit_depth;
  const int64_t steps = (values.count + unit_depth - 1) / unit_depth;
  Lanes halves[2][most_steps][members][2];
  for (int64_t step = 0; step < steps; ++step) {
    StepSums<members> sums;
    const int64_t end = std::min(values.count, (step + 1) * unit_depth);
    for (int64_t begin = step * unit_depth; begin < end; begin += page_positions) {
      const int64_t chunk = begin / page_positions, rows = std::min(page_positions, end - begin);
      const SplitWeights rows_weights = weights.at(begin);
      const bf16* from = values.v + values.chunks[chunk] + block * pairs_width;
      const bf16* ahead = values.ahead + values.chunks_ahead[chunk] + block * values_a_line;
      for (int64_t row = 0; row < rows; row += 2, from += 2 * values.width, ahead += 2 * values.lines * values_a_line) {
        fetch_line(ahead, 0);
        fetch_line(ahead, values.lines);
        StepSums<members>::add(rows_weights, row, load_pairs(from), sums.even);
        if (row + 1 < rows) StepSums<members>::add(rows_weights, row + 1, load_pairs(from + values.width), sums.odd);
      }
    }
#pragma GCC unroll 8
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 8
      for (int m = 0; m < members; ++m) {
#pragma GCC unroll 8
        for (int i = 0; i < 2; ++i) halves[half][step][m][i] = sums.even[half][m][i] + sums.odd[half][m][i];
      }
    }
  }
  for (int m = 0; m < members; ++m) {
    for (int i = 0; i < 2; ++i) {
      float* to = out + m * out_stride + i * Lanes::width;
      Lanes sum = load(to);
      for (const auto& half : halves) {
        for (int64_t step = 0; step < steps; ++step) sum = sum + half[step][m][i];
      }
      store(to, sum);
    }
  }
}

template <int members, int groups>
void pick_unit_groups(int64_t count, const float* q, int64_t q_stride, const Keys& keys, float* scores) {
  if constexpr (groups > 1) {
    if (count < groups) return pick_unit_groups<members, groups - 1>(count, q, q_stride, keys, scores);
  }
  weigh_tile_as_units<members, groups>(q, q_stride, keys, scores);
}

template <int members>
void weigh_members_as_units(int64_t count, int64_t groups, const float* q, int64_t q_stride, const Keys& keys, float* scores) {
  if constexpr (members > 1) {
    if (count < members) return weigh_members_as_units<members - 1>(count, groups, q, q_stride, keys, scores);
  }
  for (int64_t group = 0; group < groups; group += most_unit_groups) {
    pick_unit_groups<members, most_unit_groups>(groups - group, q, q_stride, keys.from(group), scores + group * Lanes::width);
  }
}

template <int members>
void mix_members_as_units(int64_t count, const SplitWeights& weights, const Values& values, int64_t out_stride, float* out) {
  if constexpr (members > 1) {
    if (count < members) return mix_members_as_units<members - 1>(count, weights, values, out_stride, out);
  }
  for (int64_t block = 0; block < values.width / pairs_width; ++block) mix_block_as_units<members>(weights, values, block, out_stride, out + block * pairs_width);
}

}  // namespace limbeck::cpu
