#include "ops/linear.h"

#include "core/gemm.h"

namespace limbeck::cpu {

namespace {

GemmShape forward_shape(const LinearShape& shape) {
  GemmShape product{shape.N, shape.O, shape.I, shape.I, shape.I, shape.O};
  product.b = Layout::transposed;
  return product;
}

}  // namespace

Status linear_forward(const LinearShape& shape, const bf16* x_NI, const bf16* weight_OI, bf16* out_NO) {
  return gemm(forward_shape(shape), x_NI, weight_OI, out_NO);
}

Status linear_forward(const LinearShape& shape, const bf16* x_NI, const bf16* weight_OI, float* out_NO) {
  return gemm(forward_shape(shape), x_NI, weight_OI, out_NO);
}

Status linear_backward_input(const LinearShape& shape, const bf16* dout_NO, const bf16* weight_OI, bf16* dx_NI) {
  return gemm(GemmShape{shape.N, shape.I, shape.O, shape.O, shape.I, shape.I}, dout_NO, weight_OI, dx_NI);
}

Status linear_backward_weight(const LinearShape& shape, const bf16* dout_NO, const bf16* x_NI, float* dweight_OI) {
  GemmShape product{shape.O, shape.I, shape.N, shape.O, shape.I, shape.I};
  product.a = Layout::transposed;
  product.accumulate = true;
  return gemm(product, dout_NO, x_NI, dweight_OI);
}

}  // namespace limbeck::cpu
