#include "ops/rows.h"

#include <cstring>
#include <string>
#include <vector>
#include "core/indices.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t row_block = 16;

Status check_distinct(const RowsShape& shape, const int32_t* rows_R) {
  std::vector<bool> seen_N(static_cast<size_t>(shape.N));
  for (int64_t r = 0; r < shape.R; ++r) {
    if (seen_N[rows_R[r]]) return refuse(Code::bad_value, "rows_R names row " + std::to_string(rows_R[r]) + " twice; scattered rows must be distinct");
    seen_N[rows_R[r]] = true;
  }
  return fine();
}

}  // namespace

Status gather_rows(const RowsShape& shape, const GatherRows& io) {
  LIMBECK_TRY(check_indices({"rows_R", io.rows_R, shape.R}, shape.N));
  const char* from = static_cast<const char*>(io.x_ND);
  char* to = static_cast<char*>(io.out_RD);
  parallel_blocks(shape.R, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(to + r * shape.row_bytes, from + io.rows_R[r] * shape.row_bytes, static_cast<size_t>(shape.row_bytes));
    }
  });
  return fine();
}

Status scatter_rows(const RowsShape& shape, const ScatterRows& io) {
  LIMBECK_TRY(check_indices({"rows_R", io.rows_R, shape.R}, shape.N));
  LIMBECK_TRY(check_distinct(shape, io.rows_R));
  const char* from = static_cast<const char*>(io.x_RD);
  char* to = static_cast<char*>(io.out_ND);
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    std::memset(to + begin * shape.row_bytes, 0, static_cast<size_t>((end - begin) * shape.row_bytes));
  });
  parallel_blocks(shape.R, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(to + io.rows_R[r] * shape.row_bytes, from + r * shape.row_bytes, static_cast<size_t>(shape.row_bytes));
    }
  });
  return fine();
}

}  // namespace limbeck::cpu
