// panel_six_avx2.h -- the innermost loop of panel_tile.h where the CPU has AVX2: a tile of six rows by a few pairs of a panel's rows, in one block of assembly. All 16
//   registers are in use, and what compilers make of intrinsics copies sums between them and spills some, for half of the speed. A core that is shared with a
//   neighbour's work waits for instructions rather than for products, so there are few besides products: 24 of 43 a pair of k, 45 with memory fetched.
#pragma once

#ifndef __AVX512BF16__

#include <cstdint>
#include "core/panel_ahead.h"
#include "core/panel_tile.h"

namespace limbeck {

constexpr int64_t pair_row = 2 * panel_columns;  // bf16 of a panel's row of pairs
constexpr uint32_t upper_half = 0xffff0000u;
static_assert(tile_rows == 6 && panel_columns == 16, "the offsets below are of tiles of six rows and panels of 16 columns");

// A few pairs of the rows of a tile and of a panel.
struct Slab {
  const float* a;
  const bf16* b;
  int64_t pairs;
};

// What the text below says of k = 2p, 2p + 1: %[a] points at six values of each, %[b] at a panel's row of 16 pairs. ymm0 to ymm11 sum, ymm12 and ymm13 hold 16 values
// of B, widened, ymm14 one of A and ymm15 the mask of upper halves. Offsets are texts, too, which the assembler adds.
#define WIDEN_FIRSTS(row)                                                                                                                         \
  "vmovdqa " row "(%[b]), %%ymm12\n\tvpslld $16, %%ymm12, %%ymm12\n\t"                                                                            \
  "vandps 30+" row "(%[b]), %%ymm15, %%ymm13\n\t" /* upper halves of words that begin one value before; on the left these reach into another line */
#define WIDEN_SECONDS(row) "vandps " row "(%[b]), %%ymm15, %%ymm12\n\tvandps 32+" row "(%[b]), %%ymm15, %%ymm13\n\t"
#define ADD_ROW(value, left, right) \
  "vbroadcastss " value "(%[a]), %%ymm14\n\tvfmadd231ps %%ymm12, %%ymm14, %%" left "\n\tvfmadd231ps %%ymm13, %%ymm14, %%" right "\n\t"
#define ADD_ROWS(values)                                                                                                       \
  ADD_ROW(values, "ymm0", "ymm1") ADD_ROW("4+" values, "ymm2", "ymm3") ADD_ROW("8+" values, "ymm4", "ymm5")                    \
  ADD_ROW("12+" values, "ymm6", "ymm7") ADD_ROW("16+" values, "ymm8", "ymm9") ADD_ROW("20+" values, "ymm10", "ymm11")
#define ADD_PAIR(values, row) WIDEN_FIRSTS(row) ADD_ROWS(values) WIDEN_SECONDS(row) ADD_ROWS("24+" values)
#define MOVE_SUM(at, sum, move) move(at "(%[sums])", "%%" sum)
#define LOAD(memory, sum) "vmovaps " memory ", " sum "\n\t"
#define STORE(memory, sum) "vmovaps " sum ", " memory "\n\t"
#define MOVE_SUMS(move)                                                                                                        \
  MOVE_SUM("0", "ymm0", move) MOVE_SUM("32", "ymm1", move) MOVE_SUM("64", "ymm2", move) MOVE_SUM("96", "ymm3", move)           \
  MOVE_SUM("128", "ymm4", move) MOVE_SUM("160", "ymm5", move) MOVE_SUM("192", "ymm6", move) MOVE_SUM("224", "ymm7", move)      \
  MOVE_SUM("256", "ymm8", move) MOVE_SUM("288", "ymm9", move) MOVE_SUM("320", "ymm10", move) MOVE_SUM("352", "ymm11", move)
// Two pairs a turn, after one alone if their number is odd. `fetch` follows every pair.
#define ADD_PAIRS(fetch)                                                                                                       \
  MOVE_SUMS(LOAD)                                                                                                              \
  "vbroadcastss %[mask], %%ymm15\n\t"                                                                                          \
  "test $1, %[pairs]\n\tjz 1f\n\t"                                                                                             \
  ADD_PAIR("0", "0") fetch                                                                                                     \
  "add $48, %[a]\n\tadd $64, %[b]\n"                                                                                           \
  "1:\n\tshr %[pairs]\n\tjz 3f\n\t.p2align 4\n"                                                                                \
  "2:\n\t"                                                                                                                     \
  ADD_PAIR("0", "0") fetch ADD_PAIR("48", "64") fetch                                                                          \
  "add $96, %[a]\n\tadd $128, %[b]\n\tdec %[pairs]\n\tjnz 2b\n"                                                                \
  "3:\n\t"                                                                                                                     \
  MOVE_SUMS(STORE)
#define CHANGED "cc", "memory", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15"

// sums[i, j] += sum_k a[i, k] b[k, j], panel_columns between rows; six rows.
inline void add_six(const Slab& slab, const NothingAhead&, float* sums) {
  const float* a = slab.a;
  const bf16* b = slab.b;
  int64_t pairs = slab.pairs;
  asm volatile(ADD_PAIRS("") : [a] "+r"(a), [b] "+r"(b), [pairs] "+r"(pairs) : [sums] "r"(sums), [mask] "m"(upper_half) : CHANGED);
}

inline void add_six(const Slab& slab, const StreamAhead& ahead, float* sums) {
  const float* a = slab.a;
  const bf16* b = slab.b;
  const char* next = ahead.next;
  int64_t pairs = slab.pairs;
  asm volatile(ADD_PAIRS("prefetcht1 (%[next])\n\tadd %[step], %[next]\n\t")
               : [a] "+r"(a), [b] "+r"(b), [pairs] "+r"(pairs), [next] "+r"(next)
               : [sums] "r"(sums), [mask] "m"(upper_half), [step] "r"(ahead.bytes_a_pair)
               : CHANGED);
}

#undef WIDEN_FIRSTS
#undef WIDEN_SECONDS
#undef ADD_ROW
#undef ADD_ROWS
#undef ADD_PAIR
#undef MOVE_SUM
#undef LOAD
#undef STORE
#undef MOVE_SUMS
#undef ADD_PAIRS
#undef CHANGED

}  // namespace limbeck

#endif
