// rows.h -- picks rows out of a matrix and puts them back.  N = rows of the large matrix, R = rows picked, D = width, of float32 or bf16.
//   gather:  out_RD[r] = x_ND[rows_R[r]]                          rows may repeat
//   scatter: out_ND[n] = sum of x_RD[r] over rows_R[r] = n        the gradient of gather: 0 for a row that is not named; sums are float32, in the order of r,
//                                                                 and rounded once
//   A row outside [0, N) is bad_value, found before any work. No aliasing.
#pragma once
#include <cstdint>
#include "core/status.h"

namespace limbeck {

enum class RowElement { f32, bf16 };

struct RowsShape {
  int64_t N, R, D;
  RowElement element;
};

struct GatherRows {
  const void* x_ND;
  const int32_t* rows_R;
  void* out_RD;  // overwritten
};

struct ScatterRows {
  const void* x_RD;
  const int32_t* rows_R;
  void* out_ND;  // overwritten
};

namespace cpu {
Status gather_rows(const RowsShape&, const GatherRows&);
Status scatter_rows(const RowsShape&, const ScatterRows&);
}  // namespace cpu

}  // namespace limbeck
