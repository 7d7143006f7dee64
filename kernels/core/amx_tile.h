// amx_tile.h -- the innermost step of amx_gemm.h, for CPUs with tile units (Intel AMX): 32 rows of A times a panel of 32 columns of B, on one thread.
//   Both operands lie in steps of 32 values of k, 2 KiB a step: of A two tiles of 16 rows x 32 values, of B two tiles of 16 columns, each 16 rows that hold
//   a pair of values of every column side by side. What lies beyond the matrix is zero.
//   One element of C is one chain: float32, from zero, over the steps in ascending order; within a step the first and the second values of all pairs are
//   summed apart, and both sums are added to the chain (TDPBF16PS, Intel Software Developer's Manual). So a row's result depends on that row alone.
#pragma once
#include <cstdint>
#include "core/amx_ahead.h"
#include "core/bf16.h"
#include "core/tile_gemm.h"

namespace limbeck::amx {

constexpr int64_t tile_rows = 16;
constexpr int64_t tile_columns = 16;
constexpr int64_t step_values = 32;
constexpr int64_t block_rows = 2 * tile_rows;
constexpr int64_t panel_columns = 2 * tile_columns;
constexpr int64_t step_elements = block_rows * step_values;  // of either operand
constexpr int64_t block_sums = block_rows * panel_columns;
// So many steps of either operand take 36 KiB: they stay in a first-level cache of 48 KiB while the other operand, loaded past it, comes from the second level.
constexpr int64_t near_steps = 18;
enum class Near { a, b };

inline int64_t steps_of(int64_t k) { return (k + step_values - 1) / step_values; }

// Sets this thread's tiles up for as long as it lives.
class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

struct Block {
  const bf16* a;  // 64-byte aligned, like b
  const bf16* b;
  int64_t steps;
  int64_t rows;  // 1 to block_rows
};

enum class Chain { begin, go_on };

// Goes on with the chains of a block's sums, [2, 2] tiles of [16, 16]; within a session. Fetches so many lines ahead every step.
template <Near near>
void multiply(const Block&, Chain, Ahead&, int64_t lines_a_step, float* sums);

// Brings the first `rows` and `columns` of a block's sums to C; into bf16 rounded once and overwritten.
struct Extent {
  int64_t rows, columns;  // 1 to block_rows and panel_columns
};
void store(const float* sums, Extent, Into, float* c, int64_t ldc);
void store(const float* sums, Extent, Into, bf16* c, int64_t ldc);

// An element of C of which a panel's first tile of columns holds the gate and the second what it gates: `columns` of 1 to tile_columns.
struct Gated {
  bf16 value;
};
void store(const float* sums, Extent, Into, Gated* c, int64_t ldc);

// Columns of C that a panel makes.
template <typename C>
inline constexpr int64_t panel_width = panel_columns;
template <>
inline constexpr int64_t panel_width<Gated> = tile_columns;

// A product of operands that lie in a cache as tile_product.h has them: C[m, n] (+)= A B with m, n and k multiples of 16, 16 and 32, each at least one.
struct SmallShape {
  int64_t m, n, k;
  int64_t lda, ldb, ldc;  // elements between rows of A and C, columns between rows of B
  Into into;
};
void small_product(const SmallShape&, const bf16* a, const bf16* b, float* c);

}  // namespace limbeck::amx
