#include "core/panel_tile.h"

#ifdef __AVX512BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>

namespace limbeck {

namespace {

inline __m512bh load_pairs(const bf16* from) {
  __m512bh pairs;
  std::memcpy(&pairs, from, sizeof pairs);
  return pairs;
}

inline __m512bh splat_pair(const bf16* from) {
  int32_t pair;
  std::memcpy(&pair, from, sizeof pair);
  const __m512i wide = _mm512_set1_epi32(pair);
  __m512bh pairs;
  std::memcpy(&pairs, &wide, sizeof pairs);
  return pairs;
}

// The last value of a row of odd length, with a zero beside it: what lies behind it in memory may not even be a number.
inline __m512bh splat_single(const bf16* from) {
  const bf16 pair[2] = {*from, {0}};
  return splat_pair(pair);
}

struct AddFloats {
  float* c;
  int64_t ldc;
  void put(int row, int vector, __mmask16 mask, __m512 sum) const {
    float* to = c + row * ldc + vector * vector_columns;
    _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum));
  }
};

struct StoreFloats {
  float* c;
  int64_t ldc;
  void put(int row, int vector, __mmask16 mask, __m512 sum) const { _mm512_mask_storeu_ps(c + row * ldc + vector * vector_columns, mask, sum); }
};

struct StoreBf16 {
  bf16* c;
  int64_t ldc;
  void put(int row, int vector, __mmask16 mask, __m512 sum) const {
    const __m256bh narrow = _mm512_cvtneps_pbh(sum);
    __m256i bits;
    std::memcpy(&bits, &narrow, sizeof bits);
    _mm256_mask_storeu_epi16(c + row * ldc + vector * vector_columns, mask, bits);
  }
};

template <int rows, int vectors, typename Target>
void tile(const PanelRows& a, const Panel& b, const Target& target) {
  __m512 sum[rows][vectors];
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) sum[i][j] = _mm512_setzero_ps();
  }
  const auto add_pair = [&](const bf16* from, int64_t pair, auto splat) {
    __m512bh b_row[vectors];
    for (int j = 0; j < vectors; ++j) b_row[j] = load_pairs(b.data + (pair * vectors + j) * 2 * vector_columns);
    for (int i = 0; i < rows; ++i) {
      const __m512bh a_value = splat(from + i * a.leading + 2 * pair);
      for (int j = 0; j < vectors; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], a_value, b_row[j]);
    }
  };
  const int64_t whole = a.k / 2;
  for (int64_t pair = 0; pair < whole; ++pair) add_pair(a.data, pair, splat_pair);
  if (a.k % 2 != 0) add_pair(a.data, whole, splat_single);
  const __mmask16 last_mask = static_cast<__mmask16>(0xffffu >> (vectors * vector_columns - b.columns));
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) target.put(i, j, j == vectors - 1 ? last_mask : 0xffff, sum[i][j]);
  }
}

template <int rows, int vectors, typename Target>
void pick_rows(const PanelRows& a, const Panel& b, const Target& target) {
  if constexpr (rows > 1) {
    if (a.count < rows) return pick_rows<rows - 1, vectors>(a, b, target);
  }
  tile<rows, vectors>(a, b, target);
}

template <int vectors, typename Target>
void all_rows(const PanelRows& a, const Panel& b, const Target& target) {
  if constexpr (vectors > 1) {
    if (panel_vectors(b.columns) < vectors) return all_rows<vectors - 1>(a, b, target);
  }
  for (int64_t i = 0; i < a.count; i += tile_rows) {
    const PanelRows rows{a.data + i * a.leading, std::min(tile_rows, a.count - i), a.leading, a.k};
    pick_rows<tile_rows, vectors>(rows, b, Target{target.c + i * target.ldc, target.ldc});
  }
}

constexpr int most_vectors = panel_columns / vector_columns;

}  // namespace

void panel_tiles(const PanelRows& a, const Panel& b, PanelInto into, float* c, int64_t ldc) {
  if (into == PanelInto::add) all_rows<most_vectors>(a, b, AddFloats{c, ldc});
  else all_rows<most_vectors>(a, b, StoreFloats{c, ldc});
}

void panel_tiles(const PanelRows& a, const Panel& b, bf16* c, int64_t ldc) { all_rows<most_vectors>(a, b, StoreBf16{c, ldc}); }

}  // namespace limbeck

#endif
