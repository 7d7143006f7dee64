// lanes.h -- sixteen float32 lanes: one AVX-512 register or two AVX2 registers, with the same order of additions in both. Loads and stores need no
//   alignment. Results do not depend on how the compiler vectorises, which is what makes sums repeatable without -ffast-math.
#pragma once
#include <immintrin.h>
#include <cstdint>
#include <cstring>
#include "core/bf16.h"

namespace limbeck {

#ifdef __AVX512F__
using NativeFloats = __m512;
using NativeInts = int32_t __attribute__((vector_size(64)));
using NativeShorts = uint16_t __attribute__((vector_size(32)));
inline NativeFloats native_fma(NativeFloats a, NativeFloats b, NativeFloats c) { return _mm512_fmadd_ps(a, b, c); }
#else
using NativeFloats = __m256;
using NativeInts = int32_t __attribute__((vector_size(32)));
using NativeShorts = uint16_t __attribute__((vector_size(16)));
inline NativeFloats native_fma(NativeFloats a, NativeFloats b, NativeFloats c) { return _mm256_fmadd_ps(a, b, c); }
#endif

struct Lanes {
  static constexpr int width = 16;
  static constexpr int native = sizeof(NativeFloats) / sizeof(float);
  static constexpr int parts = width / native;
  NativeFloats part[parts];
};

inline int64_t round_to_lanes(int64_t count) { return (count + Lanes::width - 1) / Lanes::width * Lanes::width; }

inline Lanes load(const float* from) {
  Lanes result;
  for (int p = 0; p < Lanes::parts; ++p) std::memcpy(&result.part[p], from + p * Lanes::native, sizeof(NativeFloats));
  return result;
}

inline void store(float* to, Lanes value) {
  for (int p = 0; p < Lanes::parts; ++p) std::memcpy(to + p * Lanes::native, &value.part[p], sizeof(NativeFloats));
}

inline Lanes splat(float value) {
  Lanes result;
  for (auto& part : result.part) part = value - NativeFloats{};
  return result;
}

inline Lanes operator+(Lanes a, Lanes b) {
  for (int p = 0; p < Lanes::parts; ++p) a.part[p] += b.part[p];
  return a;
}

inline Lanes operator-(Lanes a, Lanes b) {
  for (int p = 0; p < Lanes::parts; ++p) a.part[p] -= b.part[p];
  return a;
}

inline Lanes operator*(Lanes a, Lanes b) {
  for (int p = 0; p < Lanes::parts; ++p) a.part[p] *= b.part[p];
  return a;
}

inline Lanes operator/(Lanes a, Lanes b) {
  for (int p = 0; p < Lanes::parts; ++p) a.part[p] /= b.part[p];
  return a;
}

// a b + c, rounded once.
inline Lanes multiply_add(Lanes a, Lanes b, Lanes c) {
  for (int p = 0; p < Lanes::parts; ++p) c.part[p] = native_fma(a.part[p], b.part[p], c.part[p]);
  return c;
}

inline Lanes larger(Lanes a, Lanes b) {
  for (int p = 0; p < Lanes::parts; ++p) a.part[p] = a.part[p] > b.part[p] ? a.part[p] : b.part[p];
  return a;
}

inline Lanes square_root(Lanes a) {
#ifdef __AVX512F__
  a.part[0] = _mm512_sqrt_ps(a.part[0]);
#else
  for (auto& part : a.part) part = _mm256_sqrt_ps(part);
#endif
  return a;
}

// 0 in the lanes below `least`.
inline Lanes zero_below(Lanes a, float least) {
  for (auto& part : a.part) part = part >= least - NativeFloats{} ? part : NativeFloats{};
  return a;
}

// `then` in the lanes where a is at least `least`, `otherwise` elsewhere.
inline Lanes where_at_least(Lanes a, float least, Lanes then, Lanes otherwise) {
  for (int p = 0; p < Lanes::parts; ++p) a.part[p] = a.part[p] >= least - NativeFloats{} ? then.part[p] : otherwise.part[p];
  return a;
}

// Whether any lane of a exceeds its lane of b.
inline bool any_above(Lanes a, Lanes b) {
#ifdef __AVX512F__
  return _mm512_cmp_ps_mask(a.part[0], b.part[0], _CMP_GT_OQ) != 0;
#else
  const __m256 above = _mm256_or_ps(_mm256_cmp_ps(a.part[0], b.part[0], _CMP_GT_OQ), _mm256_cmp_ps(a.part[1], b.part[1], _CMP_GT_OQ));
  return _mm256_movemask_ps(above) != 0;
#endif
}

namespace lanes_detail {

#ifdef __AVX512F__
inline __m256 low_half(Lanes value) { return _mm512_castps512_ps256(value.part[0]); }
inline __m256 high_half(Lanes value) { return _mm512_extractf32x8_ps(value.part[0], 1); }
#else
inline __m256 low_half(Lanes value) { return value.part[0]; }
inline __m256 high_half(Lanes value) { return value.part[1]; }
#endif

inline NativeFloats exp_native(NativeFloats x) {
  // exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; the rounding rides on the mantissa of 1.5 * 2^23. Polynomial: Cephes expf.
  const NativeFloats zero{};
  const NativeFloats rounder = zero + 12582912.0f;
  const NativeFloats bounded = x > zero + 88.0f ? zero + 88.0f : x;
  const NativeFloats shifted = native_fma(bounded, zero + 1.44269504088896341f, rounder);
  const NativeFloats n = shifted - rounder;
  NativeFloats r = native_fma(n, zero - 0.693359375f, bounded);
  r = native_fma(n, zero + 2.12194440e-4f, r);
  NativeFloats poly = zero + 1.9875691500e-4f;
  poly = native_fma(poly, r, zero + 1.3981999507e-3f);
  poly = native_fma(poly, r, zero + 8.3334519073e-3f);
  poly = native_fma(poly, r, zero + 4.1665795894e-2f);
  poly = native_fma(poly, r, zero + 1.6666665459e-1f);
  poly = native_fma(poly, r, zero + 5.0000001201e-1f);
  poly = native_fma(poly, r * r, r + 1.0f);
#ifdef __AVX512F__
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, zero - 87.0f, _CMP_NLT_UQ), poly, n);
#else
  NativeInts exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent + (127 - 0x4b400000)) << 23;
  NativeFloats power;
  std::memcpy(&power, &exponent, sizeof power);
  return x < zero - 87.0f ? zero : poly * power;
#endif
}

}  // namespace lanes_detail

// e^x within 2 units in the last place; exactly 0 below -87 (also at -infinity), e^88 above 88.
inline Lanes exp(Lanes x) {
  for (auto& part : x.part) part = lanes_detail::exp_native(part);
  return x;
}

inline float reduce_add(Lanes value) {
  const __m256 eight = _mm256_add_ps(lanes_detail::low_half(value), lanes_detail::high_half(value));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

inline float reduce_max(Lanes value) {
  const __m256 eight = _mm256_max_ps(lanes_detail::low_half(value), lanes_detail::high_half(value));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// Lane i of the result is the sum over the lanes of value[i].
inline Lanes reduce_add_each(const Lanes (&value)[Lanes::width]) {
#ifdef __AVX512F__
  __m512 quad[4];  // lane 4 q + r of quad[g]: part q of the sum of value[4 g + r]
  for (int g = 0; g < 4; ++g) {
    const __m512 first = _mm512_add_ps(_mm512_unpacklo_ps(value[4 * g].part[0], value[4 * g + 1].part[0]), _mm512_unpackhi_ps(value[4 * g].part[0], value[4 * g + 1].part[0]));
    const __m512 second = _mm512_add_ps(_mm512_unpacklo_ps(value[4 * g + 2].part[0], value[4 * g + 3].part[0]), _mm512_unpackhi_ps(value[4 * g + 2].part[0], value[4 * g + 3].part[0]));
    quad[g] = _mm512_add_ps(_mm512_shuffle_ps(first, second, 0x44), _mm512_shuffle_ps(first, second, 0xee));
  }
  const __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(quad[0], quad[1], 0x88), _mm512_shuffle_f32x4(quad[0], quad[1], 0xdd));
  const __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(quad[2], quad[3], 0x88), _mm512_shuffle_f32x4(quad[2], quad[3], 0xdd));
  Lanes result;
  result.part[0] = _mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd));
  return result;
#else
  float lane[Lanes::width];
  for (int i = 0; i < Lanes::width; ++i) lane[i] = reduce_add(value[i]);
  return load(lane);
#endif
}

inline Lanes load_bf16(const bf16* from) {
  Lanes result;
  for (int p = 0; p < Lanes::parts; ++p) {
    NativeShorts narrow;
    std::memcpy(&narrow, from + p * Lanes::native, sizeof narrow);
    const NativeInts wide = __builtin_convertvector(narrow, NativeInts) << 16;
    std::memcpy(&result.part[p], &wide, sizeof wide);
  }
  return result;
}

// Rounds as to_bf16 does: to nearest, ties to even; NaN stays NaN.
inline void store_bf16_exactly(bf16* to, Lanes value) {
  using NativeUnsigned = uint32_t __attribute__((vector_size(sizeof(NativeFloats))));
  for (int p = 0; p < Lanes::parts; ++p) {
    NativeUnsigned bits;
    std::memcpy(&bits, &value.part[p], sizeof bits);
    const NativeInts is_nan = value.part[p] != value.part[p];
    const NativeUnsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const NativeUnsigned quiet = (bits >> 16) | 0x40u;
    const NativeShorts narrow = __builtin_convertvector(is_nan ? quiet : rounded, NativeShorts);
    std::memcpy(to + p * Lanes::native, &narrow, sizeof narrow);
  }
}

// The same by the CPU's instruction where it has one, for which numbers below 2^-126 are 0.
inline void store_bf16(bf16* to, Lanes value) {
#ifdef __AVX512BF16__
  const __m256bh narrow = _mm512_cvtneps_pbh(value.part[0]);
  std::memcpy(to, &narrow, sizeof narrow);
#else
  store_bf16_exactly(to, value);
#endif
}

// The nearest bf16, as store_bf16 rounds.
inline Lanes as_bf16(Lanes value) {
#ifdef __AVX512BF16__
  value.part[0] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(value.part[0])), 16));
  return value;
#else
  bf16 nearest[Lanes::width];
  store_bf16(nearest, value);
  return load_bf16(nearest);
#endif
}

// Sixteen lanes of float32 or bf16, by the pointer's type.
inline Lanes load_lanes(const float* from) { return load(from); }
inline Lanes load_lanes(const bf16* from) { return load_bf16(from); }
inline void store_lanes(float* to, Lanes value) { store(to, value); }
inline void store_lanes(bf16* to, Lanes value) { store_bf16(to, value); }

// The first `count` lanes, count from 0 to 16: a row's end. Absent lanes load as 0 and are not stored.
template <typename T>
inline Lanes load_first(const T* from, int64_t count) {
  if (count == Lanes::width) return load_lanes(from);
  T lane[Lanes::width] = {};
  std::memcpy(lane, from, static_cast<size_t>(count) * sizeof(T));
  if constexpr (sizeof(T) == sizeof(bf16)) return load_bf16(lane);
  else return load(lane);
}

template <typename T>
inline void store_first(T* to, int64_t count, Lanes value) {
  if (count == Lanes::width) return store_lanes(to, value);
  T lane[Lanes::width];
  if constexpr (sizeof(T) == sizeof(bf16)) store_bf16(lane, value);
  else store(lane, value);
  std::memcpy(to, lane, static_cast<size_t>(count) * sizeof(T));
}

// Calls body(begin, lanes) over [0, count) sixteen at a time; `lanes` is 16 but at the end, for load_first and store_first.
template <typename Body>
inline void for_lanes(int64_t count, const Body& body) {
  int64_t begin = 0;
  for (; begin + Lanes::width <= count; begin += Lanes::width) body(begin, int64_t{Lanes::width});
  if (begin < count) body(begin, count - begin);
}

}  // namespace limbeck
