#include "core/panel_pack.h"

#ifndef __AVX512BF16__

#include <immintrin.h>
#include <algorithm>
#include <cstring>
#include "core/transpose.h"

namespace limbeck {

namespace {

constexpr int64_t word_block = 8;  // words of 32 bits in a register: pairs of bf16, or float32
constexpr int64_t block_values = 2 * word_block;

// The first `count` of as many values as fill a Register, zero beyond them.
template <typename Register>
inline Register load_values(const bf16* from, int64_t count) {
  constexpr int64_t whole = sizeof(Register) / sizeof(bf16);
  bf16 value[whole] = {};
  if (count < whole) {
    std::memcpy(value, from, static_cast<size_t>(std::max<int64_t>(count, 0)) * sizeof(bf16));
    from = value;
  }
  Register loaded;
  std::memcpy(&loaded, from, sizeof loaded);
  return loaded;
}

inline __m256i widen(__m128i values) { return _mm256_slli_epi32(_mm256_cvtepu16_epi32(values), 16); }

// A group's values of one k.
inline void store_group(float* to, __m256i values) {
  static_assert(tile_rows == 6);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(values));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 4), _mm256_extracti128_si256(values, 1));
}

}  // namespace

void pack_panel_from_columns(const StoredColumns& b, int64_t k, bf16* panel, Ahead) {
  for (int64_t begin = 0; begin < k; begin += block_values) {
    const int64_t pairs = std::min(word_block, panel_pairs(k - begin));
    for (int64_t first = 0; first < panel_columns; first += word_block) {
      __m256i word[word_block];
      for (int64_t i = 0; i < word_block; ++i) {
        const int64_t column = first + i;
        word[i] = column < b.columns ? load_values<__m256i>(b.data + column * b.leading + begin, k - begin) : _mm256_setzero_si256();
      }
      transpose_eight(word);
      for (int64_t p = 0; p < pairs; ++p) _mm256_store_si256(reinterpret_cast<__m256i*>(panel + (begin / 2 + p) * 2 * panel_columns + 2 * first), word[p]);
    }
  }
}

void pack_panel_from_rows(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel) {
  for (int64_t row = 0; row < k; row += 2, panel += 2 * panel_columns) {
    const __m256i even = load_values<__m256i>(b + row * leading, columns);
    const __m256i odd = row + 1 < k ? load_values<__m256i>(b + (row + 1) * leading, columns) : _mm256_setzero_si256();
    const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    _mm256_store_si256(reinterpret_cast<__m256i*>(panel), _mm256_permute2x128_si256(low, high, 0x20));
    _mm256_store_si256(reinterpret_cast<__m256i*>(panel + panel_columns), _mm256_permute2x128_si256(low, high, 0x31));
  }
}

// Eight rows of k at a time: a group's then fill three lines of it, one after the other, where groups that lie whole pages apart would push each other's lines
// out of the first-level cache.
void turn_rows(const bf16* a, int64_t leading, int64_t k, int64_t rows, TurnedElement* out) {
  constexpr int64_t ahead = 16;  // rows of k: their lines lie far apart, and nothing else fetches them in time
  constexpr int64_t whole_load = 8;
  const int64_t group = turned_elements(tile_rows, k);
  for (int64_t begin = 0; begin < k; begin += word_block) {
    const int64_t end = std::min(begin + word_block, k);
    for (int64_t row = begin + ahead; row < std::min(end + ahead, k); ++row) {
      for (int64_t first = 0; first < rows; first += line_bytes / 2) _mm_prefetch(reinterpret_cast<const char*>(a + row * leading + first), _MM_HINT_T0);
    }
    for (int64_t first = 0; first < rows; first += tile_rows) {
      const bf16* from = a + begin * leading + first;
      float* to = out + first / tile_rows * group + begin * tile_rows;
      const int64_t count = std::min(whole_load, rows - first);
      if (count == whole_load && end - begin == word_block) {
        for (int64_t i = 0; i < word_block; ++i) store_group(to + i * tile_rows, widen(load_values<__m128i>(from + i * leading, whole_load)));
        continue;
      }
      for (int64_t row = begin; row < end; ++row, from += leading, to += tile_rows) store_group(to, widen(load_values<__m128i>(from, count)));
      if (end % 2 != 0) store_group(to, _mm256_setzero_si256());
    }
  }
}

void turn_stored_rows(const PanelRows& a, TurnedElement* out) {
  const int64_t group = turned_elements(tile_rows, a.k);
  for (int64_t first = 0; first < a.count; first += tile_rows, out += group) {
    for (int64_t begin = 0; begin < a.k; begin += word_block) {
      __m256i value[word_block];
      for (int64_t i = 0; i < word_block; ++i) {
        const int64_t row = first + i;
        value[i] = i < tile_rows && row < a.count ? widen(load_values<__m128i>(a.data + row * a.leading + begin, a.k - begin)) : _mm256_setzero_si256();
      }
      transpose_eight(value);
      for (int64_t i = 0; i < word_block; ++i) store_group(out + (begin + i) * tile_rows, value[i]);
    }
  }
}

}  // namespace limbeck

#endif
