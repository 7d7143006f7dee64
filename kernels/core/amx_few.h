// amx_few.h -- one block of A's rows by a packed B, which comes from memory once: a product of a decode step. A is read where it lies. An element is the chain
//   of sums that amx_gemm.h says. A Product as deep_product.h has it.
#pragma once
#include <cstdint>
#include "core/amx_packed.h"
#include "core/gemm.h"

namespace limbeck::amx {

class FewRows {
 public:
  static constexpr int64_t k_block = deepest;

  // `shape` with 1 to block_rows rows, A as stored.
  FewRows(const GemmShape& shape, const bf16* a, const bf16* packed) : shape_(shape), a_(a), packed_(packed), lda_(shape.lda) {}

  Status prepare();

  template <typename C>  // float, bf16 or Gated
  void add_block(Part rows, Part depth, Into, C* c, int64_t ldc) const;

 private:
  const GemmShape shape_;
  const bf16* a_;
  const bf16* packed_;
  int64_t lda_;
};

}  // namespace limbeck::amx
