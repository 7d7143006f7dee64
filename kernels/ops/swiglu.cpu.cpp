#include "ops/swiglu.h"

#include "core/lanes.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t row_block = 4;

Lanes sigmoid(Lanes x) {
  const Lanes one = splat(1);
  return one / (one + exp(splat(0) - x));
}

}  // namespace

Status swiglu_forward(const SwigluShape& shape, const SwigluForward& io) {
  const int64_t F = shape.F;
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const bf16* gate = io.gate_up_N2F + n * 2 * F;
      for_lanes(F, [&](int64_t f, int64_t count) {
        const Lanes g = load_first(gate + f, count);
        store_first(io.out_NF + n * F + f, count, g * sigmoid(g) * load_first(gate + F + f, count));
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

}  // namespace limbeck::cpu
