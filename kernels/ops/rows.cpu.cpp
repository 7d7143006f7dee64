#include "ops/rows.h"

#include <cstring>
#include <vector>
#include "core/bf16.h"
#include "core/indices.h"
#include "core/lanes.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t row_block = 16;
constexpr int32_t nothing = -1;

// For each row of the large matrix what was picked from it, in ascending order.
class Sources {
 public:
  Sources(const RowsShape& shape, const int32_t* rows_R) : first_N_(static_cast<size_t>(shape.N), nothing), next_R_(static_cast<size_t>(shape.R)) {
    for (int64_t r = shape.R - 1; r >= 0; --r) {
      next_R_[r] = first_N_[rows_R[r]];
      first_N_[rows_R[r]] = static_cast<int32_t>(r);
    }
  }
  int32_t first(int64_t n) const { return first_N_[n]; }
  int32_t after(int32_t r) const { return next_R_[r]; }

 private:
  std::vector<int32_t> first_N_, next_R_;
};

template <typename T>
void gather(const RowsShape& shape, const GatherRows& io) {
  const T* from = static_cast<const T*>(io.x_ND);
  T* to = static_cast<T*>(io.out_RD);
  parallel_blocks(shape.R, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) std::memcpy(to + r * shape.D, from + io.rows_R[r] * shape.D, static_cast<size_t>(shape.D) * sizeof(T));
  });
}

template <typename T>
void add_sources(const T* x_RD, int64_t D, const Sources& sources, int64_t n, T* out) {
  for_lanes(D, [&](int64_t d, int64_t count) {
    Lanes sum = splat(0);
    for (int32_t r = sources.first(n); r != nothing; r = sources.after(r)) sum = sum + load_first(x_RD + r * D + d, count);
    store_first(out + d, count, sum);
  });
}

template <typename T>
void scatter(const RowsShape& shape, const ScatterRows& io) {
  const T* from = static_cast<const T*>(io.x_RD);
  T* to = static_cast<T*>(io.out_ND);
  const Sources sources(shape, io.rows_R);
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) add_sources(from, shape.D, sources, n, to + n * shape.D);
  });
}

}  // namespace

Status gather_rows(const RowsShape& shape, const GatherRows& io) {
  LIMBECK_TRY(check_indices({"rows_R", io.rows_R, shape.R}, shape.N));
  if (shape.element == RowElement::bf16) gather<bf16>(shape, io);
  else gather<float>(shape, io);
  return fine();
}

Status scatter_rows(const RowsShape& shape, const ScatterRows& io) {
  LIMBECK_TRY(check_indices({"rows_R", io.rows_R, shape.R}, shape.N));
  if (shape.element == RowElement::bf16) scatter<bf16>(shape, io);
  else scatter<float>(shape, io);
  return fine();
}

}  // namespace limbeck::cpu
