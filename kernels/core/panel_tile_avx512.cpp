#include "core/panel_tile.h"

#ifdef __AVX512BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/panel_ahead.h"

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

// Whole vectors are stored without a mask: masked stores are slow on some CPUs.
struct AddFloats {
  float* c;
  int64_t ldc;
  void put(int row, int vector, __m512 sum) const {
    float* to = c + row * ldc + vector * vector_columns;
    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sum));
  }
  void put_first(int row, int vector, __mmask16 mask, __m512 sum) const {
    float* to = c + row * ldc + vector * vector_columns;
    _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum));
  }
};

struct StoreFloats {
  float* c;
  int64_t ldc;
  void put(int row, int vector, __m512 sum) const { _mm512_storeu_ps(c + row * ldc + vector * vector_columns, sum); }
  void put_first(int row, int vector, __mmask16 mask, __m512 sum) const { _mm512_mask_storeu_ps(c + row * ldc + vector * vector_columns, mask, sum); }
};

struct StoreBf16 {
  bf16* c;
  int64_t ldc;
  void put(int row, int vector, __m512 sum) const {
    const __m256bh narrow = _mm512_cvtneps_pbh(sum);
    std::memcpy(c + row * ldc + vector * vector_columns, &narrow, sizeof narrow);
  }
  void put_first(int row, int vector, __mmask16 mask, __m512 sum) const {
    const __m256bh narrow = _mm512_cvtneps_pbh(sum);
    __m256i bits;
    std::memcpy(&bits, &narrow, sizeof bits);
    _mm256_mask_storeu_epi16(c + row * ldc + vector * vector_columns, mask, bits);
  }
};

// Where a tile's chains start.
struct FromZero {
  __m512 get(int, int) const { return _mm512_setzero_ps(); }
  FromZero below(int64_t) const { return {}; }
};

struct FromSums {
  const float* sums;  // panel_columns between rows
  __m512 get(int row, int vector) const { return _mm512_loadu_ps(sums + row * panel_columns + vector * vector_columns); }
  FromSums below(int64_t rows) const { return {sums + rows * panel_columns}; }
};

// Stores the first `columns` of a vector's sums.
template <typename Target>
inline void put(const Target& target, int row, int vector, int64_t columns, __m512 sum) {
  if (columns == vector_columns) target.put(row, vector, sum);
  else target.put_first(row, vector, static_cast<__mmask16>(0xffffu >> (vector_columns - columns)), sum);
}

// Has a tile of C fetched while its sums are made: the largest results, logits and the head's gradient, lie far away.
template <int rows, int vectors, typename T>
inline void fetch_tile(const T* c, int64_t ldc) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) _mm_prefetch(reinterpret_cast<const char*>(c + i * ldc + j * vector_columns), _MM_HINT_T0);
  }
}

// One tile's rows of A, a pair of values of one row at a time, on every lane.
struct StoredPairs {
  static constexpr bool may_end_single = true;
  const PanelRows& a;
  int64_t whole() const { return a.k / 2; }
  __m512bh at(int row, int64_t pair) const { return splat_pair(a.data + row * a.leading + 2 * pair); }
  __m512bh single(int row) const { return splat_single(a.data + row * a.leading + a.k - 1); }
};

struct TurnedPairs {
  static constexpr bool may_end_single = false;  // a zero completes the last pair
  const TurnedRows& a;
  int64_t whole() const { return panel_pairs(a.k); }
  __m512bh at(int row, int64_t pair) const { return splat_pair(a.data + (pair * tile_rows + row) * 2); }
};

inline StoredPairs pairs_of(const PanelRows& a) { return {a}; }
inline TurnedPairs pairs_of(const TurnedRows& a) { return {a}; }

template <int rows, int vectors, typename Rows, typename Start, typename Lines, typename Target>
void tile(const Rows& a, const Panel& b, const Start& start, const Lines& ahead, const Target& target) {
  fetch_tile<rows, vectors>(target.c, target.ldc);
  __m512 sum[rows][vectors];
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors; ++j) sum[i][j] = start.get(i, j);
  }
  const auto add_pair = [&](int64_t pair, auto value_of) {
    __m512bh b_row[vectors];
    for (int j = 0; j < vectors; ++j) b_row[j] = load_pairs(b.data + (pair * vectors + j) * 2 * vector_columns);
    for (int i = 0; i < rows; ++i) {
      const __m512bh a_value = value_of(i);
      for (int j = 0; j < vectors; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], a_value, b_row[j]);
    }
  };
  const auto pairs = pairs_of(a);
  const int64_t whole = pairs.whole();
  for (int64_t pair = 0; pair < whole; ++pair) {
    ahead.at(pair);
    add_pair(pair, [&](int row) { return pairs.at(row, pair); });
  }
  if constexpr (decltype(pairs)::may_end_single) {
    if (a.k % 2 != 0) add_pair(whole, [&](int row) { return pairs.single(row); });
  }
  const int64_t last_columns = b.columns - (vectors - 1) * vector_columns;
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < vectors - 1; ++j) target.put(i, j, sum[i][j]);
    put(target, i, vectors - 1, last_columns, sum[i][vectors - 1]);
  }
}

template <int rows, int vectors, typename Rows, typename Start, typename Lines, typename Target>
void pick_rows(const Rows& a, const Panel& b, const Start& start, const Lines& ahead, const Target& target) {
  if constexpr (rows > 1) {
    if (a.count < rows) return pick_rows<rows - 1, vectors>(a, b, start, ahead, target);
  }
  tile<rows, vectors>(a, b, start, ahead, target);
}

template <int vectors, typename Rows, typename Start, typename Lines, typename Target>
void all_rows(const Rows& a, const Panel& b, const Start& start, const Lines& ahead, const Target& target) {
  if constexpr (vectors > 1) {
    if (panel_vectors(b.columns) < vectors) return all_rows<vectors - 1>(a, b, start, ahead, target);
  }
  const int64_t tiles = tiles_of(a.count);
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t i = t * tile_rows;
    pick_rows<tile_rows, vectors>(a.from(i, tile_rows), b, start.below(i), ahead.share(t, tiles), Target{target.c + i * target.ldc, target.ldc});
  }
}

constexpr int most_vectors = panel_columns / vector_columns;
constexpr int64_t slab_values = 128;  // of k: a slab of a panel takes 12 KiB and stays, with sums and rows, in a first-level cache
constexpr int64_t packing_rows = 5;   // packing a slab takes about as long as multiplying so many rows by it

// The lines of a slab that packing did not fetch, over the pairs of all tiles.
inline LinesAhead lines_left(const Ahead& packing, int64_t values, int64_t tiles) {
  const int64_t squares = values / values_a_square * (panel_columns / vector_columns);
  const int64_t lines = squares * (lines_a_square - packing.lines_a_square);
  const int64_t pairs = std::max<int64_t>(1, tiles * (values / 2));
  return {packing.next + squares * packing.lines_a_square * line_bytes, lines, (lines + pairs - 1) / pairs};
}

// A panel that exists a slab at a time. Chains go on from slab to slab, so that the sums are those of a whole panel.
template <typename Target>
void slabs(const PanelRows& a, const StoredColumns& b, const Target& target) {
  alignas(64) bf16 slab[slab_values * panel_columns];
  alignas(64) float sums[most_direct_rows * panel_columns];
  for (int64_t begin = 0; begin < a.k; begin += slab_values) {
    const int64_t values = std::min(slab_values, a.k - begin);
    // The columns that follow are fetched meanwhile, in one line and evenly: memory then works while a slab is packed as well as while it is multiplied.
    const Ahead ahead{reinterpret_cast<const char*>(b.data + panel_columns * (b.leading + begin)), lines_a_square * packing_rows / (packing_rows + a.count)};
    pack_panel_from_columns({b.data + begin, b.columns, b.leading}, values, slab, ahead);
    const PanelRows rows{a.data + begin, a.count, a.leading, values};
    const LinesAhead rest = lines_left(ahead, values, tiles_of(a.count));
    const StoreFloats into{sums, panel_columns};
    if (begin == 0) all_rows<most_vectors>(rows, {slab, b.columns}, FromZero{}, rest, into);
    else all_rows<most_vectors>(rows, {slab, b.columns}, FromSums{sums}, rest, into);
  }
  for (int64_t i = 0; i < a.count; ++i) {
    for (int64_t column = 0; column < b.columns; column += vector_columns) {
      const __m512 sum = _mm512_load_ps(sums + i * panel_columns + column);
      put(target, static_cast<int>(i), static_cast<int>(column / vector_columns), std::min(vector_columns, b.columns - column), sum);
    }
  }
}

template <typename Target>
void all_columns(const PanelRows& a, const StoredColumns& b, const Target& target) {
  for (int64_t column = 0; column < b.columns; column += panel_columns) {
    slabs(a, {b.data + column * b.leading, std::min(panel_columns, b.columns - column), b.leading}, Target{target.c + column, target.ldc});
  }
}

template <typename Target>
void multiply(const PanelRows& a, const Panel& b, const Target& target) {
  if (b.ahead > 0) all_rows<most_vectors>(a, b, FromZero{}, lines_behind(a, b), target);
  else all_rows<most_vectors>(a, b, FromZero{}, NothingAhead{}, target);
}

template <typename Target>
void multiply(const TurnedRows& a, const Panel& b, const Target& target) { all_rows<most_vectors>(a, b, FromZero{}, NothingAhead{}, target); }

template <typename Target>
void multiply(const PanelRows& a, const StoredColumns& b, const Target& target) { all_columns(a, b, target); }

}  // namespace

template <typename Rows, typename Columns>
void panel_tiles(const Rows& a, const Columns& b, Into into, float* c, int64_t ldc) {
  if (into == Into::add) multiply(a, b, AddFloats{c, ldc});
  else multiply(a, b, StoreFloats{c, ldc});
}

template <typename Rows, typename Columns>
void panel_tiles(const Rows& a, const Columns& b, bf16* c, int64_t ldc) { multiply(a, b, StoreBf16{c, ldc}); }

template void panel_tiles(const PanelRows&, const Panel&, Into, float*, int64_t);
template void panel_tiles(const PanelRows&, const Panel&, bf16*, int64_t);
template void panel_tiles(const TurnedRows&, const Panel&, Into, float*, int64_t);
template void panel_tiles(const TurnedRows&, const Panel&, bf16*, int64_t);
template void panel_tiles(const PanelRows&, const StoredColumns&, Into, float*, int64_t);
template void panel_tiles(const PanelRows&, const StoredColumns&, bf16*, int64_t);

}  // namespace limbeck

#endif
