// philox.h -- Philox4x32-10, a counter-based random number (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"; constants of Random123).
//   The same numbers as src/common/philox.ts.
#pragma once
#include <array>
#include <cstdint>

namespace limbeck {

inline std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xd2511f53u} * counter[0];
    const uint64_t product1 = uint64_t{0xcd9e8d57u} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(product0)};
    key = {key[0] + 0x9e3779b9u, key[1] + 0xbb67ae85u};
  }
  return counter;
}

// The first word as a multiple of 2^-24 in [0, 1).
inline double philox_uniform(std::array<uint32_t, 2> key, std::array<uint32_t, 4> counter) {
  return (philox4x32(key, counter)[0] >> 8) * 0x1p-24;
}

}  // namespace limbeck
