// rows.h -- picks rows out of a matrix and puts them back.  N = rows of the large matrix, R = rows picked, D in bytes: any element type.
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

namespace cpu {
Status gather_rows(const RowsShape&, const void* x_ND, const int32_t* rows_R, void* out_RD);
Status scatter_rows(const RowsShape&, const void* x_RD, const int32_t* rows_R, void* out_ND);
}  // namespace cpu

}  // namespace limbeck
