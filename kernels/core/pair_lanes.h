// pair_lanes.h -- sixteen pairs of bf16, the words in which caches and packed operands lie: a pair a lane.
#pragma once
#include <cstring>
#include "core/lanes.h"
#include "core/tile_product.h"

namespace limbeck {

struct PairLanes {
  NativeInts part[Lanes::parts];
};

inline PairLanes load_pairs(const bf16* from) {
  PairLanes pairs;
  for (int p = 0; p < Lanes::parts; ++p) std::memcpy(&pairs.part[p], from + p * 2 * Lanes::native, sizeof(NativeInts));  // at once, it would go through memory
  return pairs;
}

// The first of each pair, widened.
inline Lanes firsts(const PairLanes& pairs) {
  Lanes result;
  for (int p = 0; p < Lanes::parts; ++p) {
    const NativeInts wide = pairs.part[p] << 16;
    std::memcpy(&result.part[p], &wide, sizeof wide);
  }
  return result;
}

// The second of each pair, widened.
inline Lanes seconds(const PairLanes& pairs) {
  Lanes result;
  for (int p = 0; p < Lanes::parts; ++p) {
    const NativeInts wide = pairs.part[p] & static_cast<int32_t>(0xffff0000u);
    std::memcpy(&result.part[p], &wide, sizeof wide);
  }
  return result;
}

// Stores the pairs (first, second), rounded as store_bf16 rounds.
inline void store_pairs(bf16* to, Lanes first, Lanes second) {
#ifdef __AVX512BF16__
  _mm512_storeu_si512(to, as_pairs((__m512i)_mm512_cvtne2ps_pbh(second.part[0], first.part[0])));
#else
  bf16 both[2][Lanes::width];
  store_bf16(both[0], first);
  store_bf16(both[1], second);
  for (int lane = 0; lane < Lanes::width; ++lane) {
    to[2 * lane] = both[0][lane];
    to[2 * lane + 1] = both[1][lane];
  }
#endif
}

// sum += pairs . other, the two terms that follow each other in `other`, as tile_product adds them.
inline Lanes add_pair_products(const PairLanes& pairs, const TileElement* other, Lanes sum) {
#ifdef __AVX512BF16__
  int32_t word;
  std::memcpy(&word, other, sizeof word);
  sum.part[0] = _mm512_dpbf16_ps(sum.part[0], (__m512bh)pairs.part[0], (__m512bh)_mm512_set1_epi32(word));
  return sum;
#else
  return multiply_add(splat(other[1]), seconds(pairs), multiply_add(splat(other[0]), firsts(pairs), sum));
#endif
}

}  // namespace limbeck
