#include "ops/swiglu.h"

#include "core/gated.h"
#include "core/gemm.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t row_block = 4;

}  // namespace

Status swiglu_forward(const SwigluShape& shape, const SwigluForward& io) {
  const int64_t F = shape.F;
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* gate = io.gate_up_N2F + n * 2 * F;
      for_lanes(F, [&](int64_t f, int64_t count) {
        store_first(io.out_NF + n * F + f, count, gated(load_first(gate + f, count), load_first(gate + F + f, count)));
      });
    }
  });
  return fine();
}

Status swiglu_backward(const SwigluShape& shape, const SwigluBackward& io) {
  const int64_t F = shape.F;
  const Lanes one = splat(1);
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* gate = io.gate_up_N2F + n * 2 * F;
      bf16* dgate = io.dgate_up_N2F + n * 2 * F;
      for_lanes(F, [&](int64_t f, int64_t count) {
        const Lanes g = load_first(gate + f, count);
        const Lanes s = sigmoid(g);
        const Lanes dout = load_first(io.dout_NF + n * F + f, count);
        const Lanes u = load_first(gate + F + f, count);
        store_first(dgate + f, count, dout * u * s * (one + g * (one - s)));
        store_first(dgate + F + f, count, dout * g * s);
      });
    }
  });
  return fine();
}

int64_t packed_gated_elements(int64_t F, int64_t I) { return packed_gates_elements(F, I); }

Status pack_gated(const GatedLinearShape& shape, const PackGated& io) {
  pack_gates(io.weight_2FI, shape.I, shape.F, shape.I, io.packed_P);
  return fine();
}

Status gated_linear(const GatedLinearShape& shape, const GatedLinear& io) {
  GemmShape product{shape.N, shape.F, shape.I, shape.I, shape.I, shape.F};
  product.b = Layout::transposed;
  return gated_gemm(product, io.x_NI, io.packed_P, io.out_NF);
}

}  // namespace limbeck::cpu
