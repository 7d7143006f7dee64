// amx_config.h -- how tiles are set up, and what GCC has to be told about it.
#pragma once
#include <sys/syscall.h>
#include <unistd.h>
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

// Linux gives a process the tiles' registers only when it asks. False where it refuses, or knows none.
inline bool may_use_tiles() {
  constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

// GCC does not know that tiles and their set-up are read from memory; what was written there before must not be written later.
inline void finish_writes(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

}  // namespace limbeck::amx
