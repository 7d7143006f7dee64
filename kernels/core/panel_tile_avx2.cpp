#include "core/panel_tile.h"

#ifndef __AVX512BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/lanes.h"
#include "core/panel_six_avx2.h"

namespace limbeck {

namespace {

constexpr int parts = 2;  // registers of a panel's row of values
constexpr int64_t part_columns = panel_columns / parts;

// Of pairs, the firsts and the seconds, widened: the lower and the upper halves of words.
inline __m256 firsts_of(const bf16* pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(pairs)), 16)); }
inline __m256 seconds_of(const bf16* pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_load_si256(reinterpret_cast<const __m256i*>(pairs)), _mm256_set1_epi32(static_cast<int>(upper_half))));
}

struct AddFloats {
  float* c;
  int64_t ldc;
  void put(int64_t row, int64_t columns, Lanes sum) const { store_first(c + row * ldc, columns, load_first(c + row * ldc, columns) + sum); }
};

// Of float32 or bf16.
template <typename T>
struct Store {
  T* c;
  int64_t ldc;
  void put(int64_t row, int64_t columns, Lanes sum) const { store_first(c + row * ldc, columns, sum); }
};

constexpr int64_t slab_pairs = 128;             // of a panel: 8 KiB, which stay in a first-level cache with the sums of a group of rows
constexpr int64_t group_rows = 16 * tile_rows;  // whose sums are kept from slab to slab

// sums[i, j] += sum_k a[i, k] b[k, j], panel_columns between rows, for fewer rows than a tile has. Loops over rows are unrolled, nothing takes an accumulator's
// address and nothing is called: else they would live in memory.
template <int rows, typename Fetch>
void add_slab(const Slab& slab, const Fetch& ahead, float* sums) {
  __m256 left[rows], right[rows];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    left[i] = _mm256_load_ps(sums + i * panel_columns);
    right[i] = _mm256_load_ps(sums + i * panel_columns + part_columns);
  }
  const float* values = slab.a;
  const bf16* row = slab.b;
  for (int64_t pair = 0; pair < slab.pairs; ++pair, values += 2 * tile_rows, row += pair_row) {
    ahead.from(pair).fetch();
    const __m256 left_firsts = firsts_of(row), right_firsts = firsts_of(row + pair_row / parts);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const __m256 value = _mm256_broadcast_ss(values + i);
      left[i] = _mm256_fmadd_ps(value, left_firsts, left[i]);
      right[i] = _mm256_fmadd_ps(value, right_firsts, right[i]);
    }
    const __m256 left_seconds = seconds_of(row), right_seconds = seconds_of(row + pair_row / parts);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const __m256 value = _mm256_broadcast_ss(values + tile_rows + i);
      left[i] = _mm256_fmadd_ps(value, left_seconds, left[i]);
      right[i] = _mm256_fmadd_ps(value, right_seconds, right[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    _mm256_store_ps(sums + i * panel_columns, left[i]);
    _mm256_store_ps(sums + i * panel_columns + part_columns, right[i]);
  }
}

template <int rows, typename Fetch>
void pick_rows(int64_t count, const Slab& slab, const Fetch& ahead, float* sums) {
  if constexpr (rows > 1) {
    if (count < rows) return pick_rows<rows - 1>(count, slab, ahead, sums);
  }
  if constexpr (rows == tile_rows) add_six(slab, ahead, sums);
  else add_slab<rows>(slab, ahead, sums);
}

// Has rows of C fetched just before their sums are complete, a few at a time: more than a core can remember would keep it waiting.
template <typename T>
inline void fetch_rows(const T* c, int64_t ldc, int64_t rows) {
  for (int64_t i = 0; i < rows; ++i) _mm_prefetch(reinterpret_cast<const char*>(c + i * ldc), _MM_HINT_T0);
}

template <typename Fetch, typename Target>
void group(const TurnedRows& a, const Panel& b, const Fetch& ahead, const Target& target) {
  alignas(32) float sums[group_rows * panel_columns];
  std::memset(sums, 0, static_cast<size_t>(a.count * panel_columns) * sizeof(float));
  const int64_t pairs = panel_pairs(a.k), tiles = tiles_of(a.count);
  for (int64_t begin = 0; begin < pairs; begin += slab_pairs) {
    const int64_t count = std::min(slab_pairs, pairs - begin);
    for (int64_t t = 0; t < tiles; ++t) {
      const TurnedRows rows = a.from(t * tile_rows, tile_rows);
      const Slab slab{rows.data + begin * 2 * tile_rows, b.data + begin * pair_row, count};
      if (begin + count == pairs) fetch_rows(target.c + t * tile_rows * target.ldc, target.ldc, rows.count);
      pick_rows<tile_rows>(rows.count, slab, ahead.from(begin * tiles + t * count), sums + t * tile_rows * panel_columns);
    }
  }
  for (int64_t i = 0; i < a.count; ++i) target.put(i, b.columns, load(sums + i * panel_columns));
}

template <typename Fetch, typename Target>
void all_rows(const TurnedRows& a, const Panel& b, const Fetch& ahead, const Target& target) {
  const int64_t groups = (a.count + group_rows - 1) / group_rows;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t row = g * group_rows;
    group(a.from(row, group_rows), b, ahead.from(row / tile_rows * panel_pairs(a.k)), Target{target.c + row * target.ldc, target.ldc});
  }
}

template <typename Target>
void multiply(const TurnedRows& a, const Panel& b, const Target& target) {
  if (b.ahead > 0) all_rows(a, b, stream_behind(a, b), target);
  else all_rows(a, b, NothingAhead{}, target);
}

}  // namespace

template <typename Rows, typename Columns>
void panel_tiles(const Rows& a, const Columns& b, Into into, float* c, int64_t ldc) {
  if (into == Into::add) multiply(a, b, AddFloats{c, ldc});
  else multiply(a, b, Store<float>{c, ldc});
}

template <typename Rows, typename Columns>
void panel_tiles(const Rows& a, const Columns& b, bf16* c, int64_t ldc) { multiply(a, b, Store<bf16>{c, ldc}); }

template void panel_tiles(const TurnedRows&, const Panel&, Into, float*, int64_t);
template void panel_tiles(const TurnedRows&, const Panel&, bf16*, int64_t);

}  // namespace limbeck

#endif
