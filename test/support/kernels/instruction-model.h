// instruction-model.h -- the AVX-512 and AMX instructions that the kernels use, computed by AVX2, so that the code for them is tested on hosts without them.
//   Included before every source of a library of its own, which `kernels/build.mjs` makes on request; the sources do not know. The same lanes, masks, tile shapes
//   and order of sums as the instructions have (Intel Software Developer's Manual; TDPBF16PS in its volume 2), but not always their last bit: a product of pairs
//   is two fused additions here. Denormal results are kept where instructions flush them.
#pragma once
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace limbeck::model {

#define LIMBECK_MODEL static inline __attribute__((always_inline, unused))

using Words = uint32_t __attribute__((vector_size(64)));
constexpr int words = 16, halves = 32;

template <typename To, typename From>
LIMBECK_MODEL To bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename To>
LIMBECK_MODEL To load(const void* from) {
  To to;
  std::memcpy(&to, from, sizeof to);
  return to;
}

LIMBECK_MODEL void store_ps(void* to, __m512 value) { std::memcpy(to, &value, sizeof value); }
LIMBECK_MODEL void store_si512(void* to, __m512i value) { std::memcpy(to, &value, sizeof value); }

// Masked lanes of any width: those that the mask leaves out are neither read nor written.
template <typename Lane, typename Register>
LIMBECK_MODEL Register load_masked(uint32_t mask, const void* from) {
  Lane lanes[sizeof(Register) / sizeof(Lane)] = {};
  for (size_t i = 0; i < sizeof(Register) / sizeof(Lane); ++i) {
    if (mask >> i & 1) lanes[i] = static_cast<const Lane*>(from)[i];
  }
  return load<Register>(lanes);
}

template <typename Lane, typename Register>
LIMBECK_MODEL void store_masked(void* to, uint32_t mask, Register value) {
  Lane lanes[sizeof(Register) / sizeof(Lane)];
  std::memcpy(lanes, &value, sizeof value);
  for (size_t i = 0; i < sizeof(Register) / sizeof(Lane); ++i) {
    if (mask >> i & 1) static_cast<Lane*>(to)[i] = lanes[i];
  }
}

LIMBECK_MODEL __m512 add_ps(__m512 a, __m512 b) { return a + b; }
LIMBECK_MODEL __m512 sub_ps(__m512 a, __m512 b) { return a - b; }

// What all products are made of, so by instructions themselves.
LIMBECK_MODEL __m512 fmadd_ps(__m512 a, __m512 b, __m512 c) {
  struct Halves {
    __m256 low, high;
  };
  const auto x = bits<Halves>(a), y = bits<Halves>(b), z = bits<Halves>(c);
  return bits<__m512>(Halves{_mm256_fmadd_ps(x.low, y.low, z.low), _mm256_fmadd_ps(x.high, y.high, z.high)});
}

LIMBECK_MODEL __m512 sqrt_ps(__m512 a) {
  for (int i = 0; i < words; ++i) a[i] = std::sqrt(a[i]);
  return a;
}

LIMBECK_MODEL uint32_t cmp_ps_mask(__m512 a, __m512 b, int predicate) {
  uint32_t mask = 0;
  for (int i = 0; i < words; ++i) {
    const bool holds = predicate == _CMP_GT_OQ ? a[i] > b[i] : !(a[i] < b[i]);  // the other one in use is _CMP_NLT_UQ
    mask |= static_cast<uint32_t>(holds) << i;
  }
  return mask;
}

LIMBECK_MODEL __m512 maskz_scalef_ps(uint32_t mask, __m512 a, __m512 exponent) {
  for (int i = 0; i < words; ++i) a[i] = mask >> i & 1 ? std::ldexp(a[i], static_cast<int>(std::floor(exponent[i]))) : 0.0f;
  return a;
}

LIMBECK_MODEL __m512i set1_epi32(int value) { return (__m512i)(Words{} + static_cast<uint32_t>(value)); }
LIMBECK_MODEL __m512i slli_epi32(__m512i a, int count) { return (__m512i)((Words)a << count); }

template <typename... Halves>  // highest first
LIMBECK_MODEL __m512i set_epi16(Halves... values) {
  static_assert(sizeof...(values) == halves);
  const short given[halves] = {static_cast<short>(values)...};
  short lanes[halves];
  for (int i = 0; i < halves; ++i) lanes[i] = given[halves - 1 - i];
  return load<__m512i>(lanes);
}

LIMBECK_MODEL __m512i cvtepu16_epi32(__m256i a) {
  uint16_t from[words];
  std::memcpy(from, &a, sizeof a);
  Words to;
  for (int i = 0; i < words; ++i) to[i] = from[i];
  return (__m512i)to;
}

template <typename Half, typename Whole>
LIMBECK_MODEL Half half_of(Whole a, int which) { return load<Half>(reinterpret_cast<const char*>(&a) + which * sizeof(Half)); }

LIMBECK_MODEL __m512i inserti64x4(__m512i a, __m256i half, int which) {
  std::memcpy(reinterpret_cast<char*>(&a) + which * sizeof half, &half, sizeof half);
  return a;
}

// Quarters of 128 bits: two of a, then two of b.
template <typename Register>
LIMBECK_MODEL Register shuffle_quarters(Register a, Register b, int choice) {
  const auto* from_a = reinterpret_cast<const char*>(&a);
  const auto* from_b = reinterpret_cast<const char*>(&b);
  char to[sizeof(Register)];
  for (int i = 0; i < 4; ++i) std::memcpy(to + 16 * i, (i < 2 ? from_a : from_b) + 16 * (choice >> 2 * i & 3), 16);
  return load<Register>(to);
}

// Within each quarter: lanes of a and b by turns, from its lower or its higher half.
template <typename Lane, bool high, typename Register>
LIMBECK_MODEL Register unpack(Register a, Register b) {
  constexpr int lanes = sizeof(Register) / sizeof(Lane), in_quarter = lanes / 4;
  Lane from_a[lanes], from_b[lanes], to[lanes];
  std::memcpy(from_a, &a, sizeof a);
  std::memcpy(from_b, &b, sizeof b);
  for (int i = 0; i < lanes; ++i) {
    const int from = i / in_quarter * in_quarter + (high ? in_quarter / 2 : 0) + i % in_quarter / 2;
    to[i] = i % 2 == 0 ? from_a[from] : from_b[from];
  }
  return load<Register>(to);
}

// Within each quarter: two lanes of a, then two of b.
LIMBECK_MODEL __m512 shuffle_ps(__m512 a, __m512 b, int choice) {
  __m512 to;
  for (int i = 0; i < words; ++i) {
    const int from = i / 4 * 4 + (choice >> 2 * (i % 4) & 3);
    to[i] = i % 4 < 2 ? a[from] : b[from];
  }
  return to;
}

LIMBECK_MODEL __m512i permutexvar_epi16(__m512i index, __m512i a) {
  uint16_t at[halves], from[halves], to[halves];
  std::memcpy(at, &index, sizeof index);
  std::memcpy(from, &a, sizeof a);
  for (int i = 0; i < halves; ++i) to[i] = from[at[i] % halves];
  return load<__m512i>(to);
}

// To the nearest bf16, ties to even; denormals are zero.
LIMBECK_MODEL uint16_t to_bf16(float value) {
  const auto word = bits<uint32_t>(value);
  if ((word & 0x7f800000u) == 0) return static_cast<uint16_t>(word >> 16 & 0x8000u);
  if (value != value) return static_cast<uint16_t>(word >> 16 | 0x40u);
  return static_cast<uint16_t>((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
}

LIMBECK_MODEL __m256bh cvtneps_pbh(__m512 a) {
  uint16_t to[words];
  for (int i = 0; i < words; ++i) to[i] = to_bf16(a[i]);
  return load<__m256bh>(to);
}

LIMBECK_MODEL __m512bh cvtne2ps_pbh(__m512 high, __m512 low) {
  uint16_t to[halves];
  for (int i = 0; i < words; ++i) {
    to[i] = to_bf16(low[i]);
    to[words + i] = to_bf16(high[i]);
  }
  return load<__m512bh>(to);
}

LIMBECK_MODEL __m512 firsts(Words pairs) { return (__m512)(pairs << 16); }
LIMBECK_MODEL __m512 seconds(Words pairs) { return (__m512)(pairs & 0xffff0000u); }

LIMBECK_MODEL __m512 dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  const auto x = bits<Words>(a), y = bits<Words>(b);
  return fmadd_ps(firsts(x), firsts(y), fmadd_ps(seconds(x), seconds(y), sum));
}

LIMBECK_MODEL long granted(long, int, int) { return 0; }

// A thread's tiles and how they are set up.
struct Tiles {
  static constexpr int count = 8, most_rows = 16, most_bytes = 64;
  struct Tile {
    alignas(64) char row[most_rows][most_bytes];
    int rows, bytes;
  } tile[count];
};
inline thread_local Tiles tiles;

inline void tile_loadconfig(const void* config) {
  constexpr int bytes_at = 16, rows_at = 48;
  const auto* from = static_cast<const uint8_t*>(config);
  for (int i = 0; i < Tiles::count; ++i) tiles.tile[i] = {{}, from[rows_at + i], load<uint16_t>(from + bytes_at + 2 * i)};
}

inline void tile_release() { tiles = {}; }
LIMBECK_MODEL void tile_zero(int to) { std::memset(tiles.tile[to].row, 0, sizeof tiles.tile[to].row); }

LIMBECK_MODEL void tile_loadd(int to, const void* from, int64_t stride) {
  auto& tile = tiles.tile[to];
  tile_zero(to);
  for (int row = 0; row < tile.rows; ++row) std::memcpy(tile.row[row], static_cast<const char*>(from) + row * stride, static_cast<size_t>(tile.bytes));
}

LIMBECK_MODEL void tile_stored(int from, void* to, int64_t stride) {
  const auto& tile = tiles.tile[from];
  for (int row = 0; row < tile.rows; ++row) std::memcpy(static_cast<char*>(to) + row * stride, tile.row[row], static_cast<size_t>(tile.bytes));
}

// Eight lanes of a row of pairs: all of its firsts or of its seconds, as float32.
LIMBECK_MODEL __m256 eight_firsts(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
LIMBECK_MODEL __m256 eight_seconds(__m256i pairs) { return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000u)))); }

// c[m, n] += sum_k a[m, 2k] b[k, 2n] + sum_k a[m, 2k + 1] b[k, 2n + 1]. In registers of AVX2, since nearly all that specs wait for is this.
inline void tile_dpbf16ps(int c, int a, int b) {
  constexpr int eight = 8;
  auto& sums = tiles.tile[c];
  const auto &left = tiles.tile[a], &right = tiles.tile[b];
  const int pairs = left.bytes / 4;
  for (int m = 0; m < sums.rows; ++m) {
    for (int n = 0; n < words; n += eight) {
      __m256 first = _mm256_setzero_ps(), second = first;
      for (int k = 0; k < pairs; ++k) {
        const __m256i pair = _mm256_set1_epi32(load<int>(left.row[m] + 4 * k));
        const auto row = load<__m256i>(right.row[k] + 4 * n);
        first = _mm256_fmadd_ps(eight_firsts(pair), eight_firsts(row), first);
        second = _mm256_fmadd_ps(eight_seconds(pair), eight_seconds(row), second);
      }
      auto* to = reinterpret_cast<float*>(sums.row[m]) + n;
      _mm256_store_ps(to, _mm256_add_ps(_mm256_load_ps(to), _mm256_add_ps(first, second)));
    }
  }
}

}  // namespace limbeck::model

#undef _tile_dpbf16ps
#undef _tile_loadd
#undef _tile_stored
#undef _tile_stream_loadd
#undef _tile_zero

#define _mm512_add_ps limbeck::model::add_ps
#define _mm512_castps512_ps256(a) limbeck::model::half_of<__m256>(a, 0)
#define _mm512_castsi256_si512(a) limbeck::model::inserti64x4(__m512i{}, a, 0)
#define _mm512_castsi512_ps(a) ((__m512)(a))
#define _mm512_castsi512_si256(a) limbeck::model::half_of<__m256i>(a, 0)
#define _mm512_cmp_ps_mask limbeck::model::cmp_ps_mask
#define _mm512_cvtepu16_epi32 limbeck::model::cvtepu16_epi32
#define _mm512_cvtne2ps_pbh limbeck::model::cvtne2ps_pbh
#define _mm512_cvtneps_pbh limbeck::model::cvtneps_pbh
#define _mm512_dpbf16_ps limbeck::model::dpbf16_ps
#define _mm512_extractf32x8_ps limbeck::model::half_of<__m256>
#define _mm512_extracti64x4_epi64 limbeck::model::half_of<__m256i>
#define _mm512_fmadd_ps limbeck::model::fmadd_ps
#define _mm512_inserti64x4 limbeck::model::inserti64x4
#define _mm512_load_ps limbeck::model::load<__m512>
#define _mm512_loadu_ps limbeck::model::load<__m512>
#define _mm512_loadu_si512 limbeck::model::load<__m512i>
#define _mm512_mask_storeu_epi16 limbeck::model::store_masked<uint16_t>
#define _mm512_mask_storeu_ps limbeck::model::store_masked<float>
#define _mm512_maskz_loadu_epi16 limbeck::model::load_masked<uint16_t, __m512i>
#define _mm512_maskz_loadu_ps limbeck::model::load_masked<float, __m512>
#define _mm512_maskz_scalef_ps limbeck::model::maskz_scalef_ps
#define _mm512_permutexvar_epi16 limbeck::model::permutexvar_epi16
#define _mm512_set1_epi32 limbeck::model::set1_epi32
#define _mm512_set_epi16 limbeck::model::set_epi16
#define _mm512_setzero_ps() (__m512{})
#define _mm512_setzero_si512() (__m512i{})
#define _mm512_shuffle_f32x4 limbeck::model::shuffle_quarters<__m512>
#define _mm512_shuffle_i32x4 limbeck::model::shuffle_quarters<__m512i>
#define _mm512_shuffle_i64x2 limbeck::model::shuffle_quarters<__m512i>
#define _mm512_shuffle_ps limbeck::model::shuffle_ps
#define _mm512_slli_epi32 limbeck::model::slli_epi32
#define _mm512_sqrt_ps limbeck::model::sqrt_ps
#define _mm512_store_si512 limbeck::model::store_si512
#define _mm512_storeu_ps limbeck::model::store_ps
#define _mm512_storeu_si512 limbeck::model::store_si512
#define _mm512_sub_ps limbeck::model::sub_ps
#define _mm512_unpackhi_epi32 limbeck::model::unpack<int32_t, true, __m512i>
#define _mm512_unpackhi_epi64 limbeck::model::unpack<int64_t, true, __m512i>
#define _mm512_unpackhi_ps limbeck::model::unpack<float, true, __m512>
#define _mm512_unpacklo_epi32 limbeck::model::unpack<int32_t, false, __m512i>
#define _mm512_unpacklo_epi64 limbeck::model::unpack<int64_t, false, __m512i>
#define _mm512_unpacklo_ps limbeck::model::unpack<float, false, __m512>
#define _mm256_mask_storeu_epi16 limbeck::model::store_masked<uint16_t>
#define _mm256_maskz_loadu_epi16 limbeck::model::load_masked<uint16_t, __m256i>
#define _tile_dpbf16ps limbeck::model::tile_dpbf16ps
#define _tile_loadconfig limbeck::model::tile_loadconfig
#define _tile_loadd limbeck::model::tile_loadd
#define _tile_release limbeck::model::tile_release
#define _tile_stored limbeck::model::tile_stored
#define _tile_stream_loadd limbeck::model::tile_loadd
#define _tile_zero limbeck::model::tile_zero

// Every instruction is there, and Linux grants the tiles.
#define __builtin_cpu_supports(name) 1
#define syscall(...) limbeck::model::granted(__VA_ARGS__)
#define __AVX512F__ 1
#define __AVX512BF16__ 1
#define __AMX_BF16__ 1
