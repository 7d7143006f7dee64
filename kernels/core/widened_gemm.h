// widened_gemm.h -- gemm.h's product on hosts whose CPU does not multiply bf16: operands are widened to float32 block by block, so that the copies
//   stay within 12 MiB whatever the shape, and oneDNN multiplies the blocks. m, n and k are at least 1.
#pragma once
#include "core/gemm.h"

namespace limbeck {

Status widened_gemm(const GemmShape&, const bf16* a, const bf16* b, float* c);
Status widened_gemm(const GemmShape&, const bf16* a, const bf16* b, bf16* c);

}  // namespace limbeck
