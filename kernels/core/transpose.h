// transpose.h -- blocks of 16 x 16 words of 32 bits (float32, or pairs of bf16) turned from rows into columns. `stride` counts words between rows.
#pragma once
#include <immintrin.h>
#include <cstdint>

namespace limbeck {

constexpr int64_t transpose_extent = 16;

#ifndef __AVX512F__
inline void transpose_eight(__m256i (&row)[8]) {
  __m256i quad[8];
  for (int half = 0; half < 8; half += 4) {
    const __m256i low_a = _mm256_unpacklo_epi32(row[half], row[half + 1]), high_a = _mm256_unpackhi_epi32(row[half], row[half + 1]);
    const __m256i low_b = _mm256_unpacklo_epi32(row[half + 2], row[half + 3]), high_b = _mm256_unpackhi_epi32(row[half + 2], row[half + 3]);
    quad[half] = _mm256_unpacklo_epi64(low_a, low_b);
    quad[half + 1] = _mm256_unpackhi_epi64(low_a, low_b);
    quad[half + 2] = _mm256_unpacklo_epi64(high_a, high_b);
    quad[half + 3] = _mm256_unpackhi_epi64(high_a, high_b);
  }
  for (int column = 0; column < 4; ++column) {
    row[column] = _mm256_permute2x128_si256(quad[column], quad[column + 4], 0x20);
    row[column + 4] = _mm256_permute2x128_si256(quad[column], quad[column + 4], 0x31);
  }
}
#endif

// to[j, i] = from[i, j] for i < rows and j < 16; to[j, i] = 0 for i >= rows. No aliasing; no alignment needed.
inline void transpose_words(const void* from, int64_t from_stride, int64_t rows, void* to, int64_t to_stride) {
  const char* source = static_cast<const char*>(from);
  char* target = static_cast<char*>(to);
#ifdef __AVX512F__
  __m512i row[16];
  for (int i = 0; i < 16; ++i) row[i] = i < rows ? _mm512_loadu_si512(source + i * from_stride * 4) : _mm512_setzero_si512();
  __m512i pair[16], quad[16];
  for (int i = 0; i < 8; ++i) {
    pair[2 * i] = _mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
    pair[2 * i + 1] = _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
  }
  // quad[4 g + c] holds, in each 128-bit part q, column 4 q + c of rows 4 g ... 4 g + 3.
  for (int g = 0; g < 4; ++g) {
    quad[4 * g] = _mm512_unpacklo_epi64(pair[4 * g], pair[4 * g + 2]);
    quad[4 * g + 1] = _mm512_unpackhi_epi64(pair[4 * g], pair[4 * g + 2]);
    quad[4 * g + 2] = _mm512_unpacklo_epi64(pair[4 * g + 1], pair[4 * g + 3]);
    quad[4 * g + 3] = _mm512_unpackhi_epi64(pair[4 * g + 1], pair[4 * g + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    const __m512i low_even = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0x88);       // parts 0 and 2 of rows 0 ... 7
    const __m512i low_odd = _mm512_shuffle_i32x4(quad[c], quad[4 + c], 0xdd);        // parts 1 and 3
    const __m512i high_even = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0x88);  // the same of rows 8 ... 15
    const __m512i high_odd = _mm512_shuffle_i32x4(quad[8 + c], quad[12 + c], 0xdd);
    _mm512_storeu_si512(target + (c + 0) * to_stride * 4, _mm512_shuffle_i32x4(low_even, high_even, 0x88));
    _mm512_storeu_si512(target + (c + 4) * to_stride * 4, _mm512_shuffle_i32x4(low_odd, high_odd, 0x88));
    _mm512_storeu_si512(target + (c + 8) * to_stride * 4, _mm512_shuffle_i32x4(low_even, high_even, 0xdd));
    _mm512_storeu_si512(target + (c + 12) * to_stride * 4, _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd));
  }
#else
  for (int64_t i = 0; i < transpose_extent; i += 8) {
    for (int64_t j = 0; j < transpose_extent; j += 8) {
      __m256i row[8];
      for (int64_t r = 0; r < 8; ++r) row[r] = i + r < rows ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + ((i + r) * from_stride + j) * 4)) : _mm256_setzero_si256();
      transpose_eight(row);
      for (int64_t r = 0; r < 8; ++r) _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + ((j + r) * to_stride + i) * 4), row[r]);
    }
  }
#endif
}

}  // namespace limbeck
