// amx_config.h -- how tiles are set up, and what GCC has to be told about it.
#pragma once
#include <cstdint>

namespace limbeck::amx {

// As ldtilecfg reads it (Intel Software Developer's Manual): eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// GCC does not know that tiles and their set-up are read from memory; what was written there before must not be written later.
inline void finish_writes(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

}  // namespace limbeck::amx
