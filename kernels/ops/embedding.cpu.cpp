#include "ops/embedding.h"

#include "core/indices.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {
constexpr int64_t row_block = 16;
constexpr int64_t column_block = 64;  // one thread owns these columns of the whole table, so tokens are added in order
}  // namespace

Status embedding_forward(const EmbeddingShape& shape, const EmbeddingForward& io) {
  LIMBECK_TRY(check_indices({"tokens_N", io.tokens_N, shape.N}, shape.V));
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* row = io.weight_VD + io.tokens_N[n] * shape.D;
      float* out = io.out_ND + n * shape.D;
      for (int64_t d = 0; d < shape.D; ++d) out[d] = to_float(row[d]);
    }
  });
  return fine();
}

Status embedding_backward(const EmbeddingShape& shape, const EmbeddingBackward& io) {
  LIMBECK_TRY(check_indices({"tokens_N", io.tokens_N, shape.N}, shape.V));
  parallel_blocks(shape.D, column_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = 0; n < shape.N; ++n) {
      const float* dout = io.dout_ND + n * shape.D;
      float* dweight = io.dweight_VD + io.tokens_N[n] * shape.D;
      for (int64_t d = begin; d < end; ++d) dweight[d] += dout[d];
    }
  });
  return fine();
}

}  // namespace limbeck::cpu
