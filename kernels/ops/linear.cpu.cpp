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

Status linear_forward(const LinearShape& shape, const LinearForward<bf16>& io) {
  return gemm(forward_shape(shape), io.x_NI, io.weight_OI, io.out_NO);
}

Status linear_forward(const LinearShape& shape, const LinearForward<float>& io) {
  return gemm(forward_shape(shape), io.x_NI, io.weight_OI, io.out_NO);
}

int64_t packed_weight_elements(int64_t O, int64_t I) { return packed_elements(O, I); }

Status pack_weight(const LinearShape& shape, const PackWeight& io) {
  pack_transposed(io.weight_OI, shape.I, shape.O, shape.I, io.packed_P);
  return fine();
}

Status linear_packed(const LinearShape& shape, const LinearPacked<bf16>& io) {
  return gemm(forward_shape(shape), io.x_NI, PackedTransposed{io.packed_P}, io.out_NO);
}

Status linear_packed(const LinearShape& shape, const LinearPacked<float>& io) {
  return gemm(forward_shape(shape), io.x_NI, PackedTransposed{io.packed_P}, io.out_NO);
}

Status linear_backward_input(const LinearShape& shape, const LinearBackwardInput& io) {
  return gemm(GemmShape{shape.N, shape.I, shape.O, shape.O, shape.I, shape.I}, io.dout_NO, io.weight_OI, io.dx_NI);
}

Status linear_backward_weight(const LinearShape& shape, const LinearBackwardWeight& io) {
  GemmShape product{shape.O, shape.I, shape.N, shape.O, shape.I, shape.I};
  product.a = Layout::transposed;
  product.accumulate = true;
  return gemm(product, io.dout_NO, io.x_NI, io.dweight_OI);
}

}  // namespace limbeck::cpu
