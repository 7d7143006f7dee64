// rows.h -- picks rows out of a matrix and puts them back.  N = rows of the large matrix, R = rows picked, D = width; a row is row_bytes bytes of any type.
//   gather:  out_RD[r] = x_ND[rows_R[r]]                          rows may repeat
//   scatter: out_ND = 0, then out_ND[rows_R[r]] = x_RD[r]         rows distinct: the gradient of gather
//   A row outside [0, N), or one scattered twice, is bad_value, found before any work. No aliasing.
#pragma once
#include <cstdint>
#include "core/status.h"

namespace limbeck {

struct RowsShape {
  int64_t N, R, row_bytes;
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
