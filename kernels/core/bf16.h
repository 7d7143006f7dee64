// bf16.h -- bfloat16 as its 16 bits; the upper half of a float32. Rounding is to nearest, ties to even; NaN stays NaN.
#pragma once
#include <cstdint>
#include <cstring>

namespace limbeck {

struct bf16 {
  uint16_t bits;
};

inline float to_float(bf16 value) {
  uint32_t wide = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &wide, sizeof result);
  return result;
}

inline bf16 to_bf16(float value) {
  uint32_t wide;
  std::memcpy(&wide, &value, sizeof wide);
  if ((wide & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((wide >> 16) | 0x40u)};
  wide += 0x7fffu + ((wide >> 16) & 1u);
  return {static_cast<uint16_t>(wide >> 16)};
}

}  // namespace limbeck
