// bind_layers.cpp -- the operations of a decoder layer other than attention.
#include "binding/call.h"
#include "ops/embedding.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"

namespace limbeck {
namespace {

Status embedding_forward(Call& call) {
  const int32_t* tokens_N = call.tensor<int32_t>("tokens_N", "N");
  const bf16* weight_VD = call.tensor<bf16>("weight_VD", "VD");
  float* out_ND = call.tensor<float>("out_ND", "ND");
  LIMBECK_TRY(call.check());
  return cpu::embedding_forward({call.extent('N'), call.extent('V'), call.extent('D')}, {tokens_N, weight_VD, out_ND});
}

Status embedding_backward(Call& call) {
  const int32_t* tokens_N = call.tensor<int32_t>("tokens_N", "N");
  const float* dout_ND = call.tensor<float>("dout_ND", "ND");
  float* dweight_VD = call.tensor<float>("dweight_VD", "VD");
  LIMBECK_TRY(call.check());
  return cpu::embedding_backward({call.extent('N'), call.extent('V'), call.extent('D')}, {tokens_N, dout_ND, dweight_VD});
}

Status check_norm_width(const Call& call) {
  return call.extent('D') > 0 ? fine() : call.bad_shape("weight_D is empty; a row without elements has no norm");
}

Status rms_norm_forward(Call& call) {
  float* residual_ND = call.tensor<float>("residual_ND", "ND");
  const AnyTensor delta_ND = call.optional_any_tensor("delta_ND", "ND");
  const float* weight_D = call.tensor<float>("weight_D", "D");
  const float eps = static_cast<float>(call.number_from("eps", 0));
  bf16* out_ND = call.tensor<bf16>("out_ND", "ND");
  float* rstd_N = call.tensor<float>("rstd_N", "N");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_norm_width(call));
  const RmsNormShape shape{call.extent('N'), call.extent('D')};
  const RmsNormForward<bf16> rounded{static_cast<const bf16*>(delta_ND.data), weight_D, eps, residual_ND, out_ND, rstd_N};
  const RmsNormForward<float> wide{static_cast<const float*>(delta_ND.data), weight_D, eps, residual_ND, out_ND, rstd_N};
  if (delta_ND.dtype == DType::bf16) return cpu::rms_norm_forward(shape, rounded);
  if (delta_ND.dtype == DType::f32) return cpu::rms_norm_forward(shape, wide);
  return refuse(Code::bad_dtype, "delta_ND is i32; it must be bf16 or f32");
}

Status rms_norm_backward(Call& call) {
  RmsNormBackward io;
  io.dout_ND = call.tensor<bf16>("dout_ND", "ND");
  io.residual_ND = call.tensor<float>("residual_ND", "ND");
  io.weight_D = call.tensor<float>("weight_D", "D");
  io.rstd_N = call.tensor<float>("rstd_N", "N");
  io.dresidual_ND = call.tensor<float>("dresidual_ND", "ND");
  io.dweight_D = call.tensor<float>("dweight_D", "D");
  io.ddelta_ND = call.optional_tensor<bf16>("ddelta_ND", "ND");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_norm_width(call));
  return cpu::rms_norm_backward({call.extent('N'), call.extent('D')}, io);
}

LinearShape linear_shape(const Call& call) { return {call.extent('N'), call.extent('I'), call.extent('O')}; }

Status linear_forward(Call& call) {
  const bf16* x_NI = call.tensor<bf16>("x_NI", "NI");
  const bf16* weight_OI = call.tensor<bf16>("weight_OI", "OI");
  const AnyTensor out_NO = call.any_tensor("out_NO", "NO");
  LIMBECK_TRY(call.check());
  const LinearForward<bf16> rounded{x_NI, weight_OI, static_cast<bf16*>(out_NO.data)};
  const LinearForward<float> wide{x_NI, weight_OI, static_cast<float*>(out_NO.data)};
  if (out_NO.dtype == DType::bf16) return cpu::linear_forward(linear_shape(call), rounded);
  if (out_NO.dtype == DType::f32) return cpu::linear_forward(linear_shape(call), wide);
  return refuse(Code::bad_dtype, "out_NO is i32; it must be bf16 or f32");
}

// How a weight is packed: the operation that tells its elements, and the letter of its width out.
struct Packing {
  const char* operation;
  const char* width_out;
  int64_t (*elements)(int64_t width_out, int64_t I);
};
constexpr Packing plain{"packedElements", "O", cpu::packed_weight_elements};
constexpr Packing gated{"packedGatedElements", "F", cpu::packed_gated_elements};

Status expect_packed(Call& call, const Packing& packing, int64_t width_out) {
  const int64_t elements = packing.elements(width_out, call.extent('I'));
  if (elements > 0 && call.extent('P') == elements) return fine();
  return call.bad_shape("packed_P has " + std::to_string(call.extent('P')) + " elements; " + packing.operation + " says " + std::to_string(elements));
}

Status tell_elements(Call& call, const Packing& packing) {
  const int64_t width_out = call.integer(packing.width_out, 0, int64_t{1} << 40);
  const int64_t I = call.integer("I", 0, int64_t{1} << 40);
  LIMBECK_TRY(call.check());
  return call.give(static_cast<double>(packing.elements(width_out, I)));
}

Status packed_elements(Call& call) { return tell_elements(call, plain); }

Status packed_gated_elements(Call& call) { return tell_elements(call, gated); }

Status pack_weight(Call& call) {
  const bf16* weight_OI = call.tensor<bf16>("weight_OI", "OI");
  bf16* packed_P = call.tensor<bf16>("packed_P", "P");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(expect_packed(call, plain, call.extent('O')));
  return cpu::pack_weight({0, call.extent('I'), call.extent('O')}, {weight_OI, packed_P});
}

Status linear_packed(Call& call) {
  const bf16* x_NI = call.tensor<bf16>("x_NI", "NI");
  const bf16* packed_P = call.tensor<bf16>("packed_P", "P");
  const AnyTensor out_NO = call.any_tensor("out_NO", "NO");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(expect_packed(call, plain, call.extent('O')));
  const LinearPacked<bf16> rounded{x_NI, packed_P, static_cast<bf16*>(out_NO.data)};
  const LinearPacked<float> wide{x_NI, packed_P, static_cast<float*>(out_NO.data)};
  if (out_NO.dtype == DType::bf16) return cpu::linear_packed(linear_shape(call), rounded);
  if (out_NO.dtype == DType::f32) return cpu::linear_packed(linear_shape(call), wide);
  return refuse(Code::bad_dtype, "out_NO is i32; it must be bf16 or f32");
}

Status linear_backward_input(Call& call) {
  const bf16* dout_NO = call.tensor<bf16>("dout_NO", "NO");
  const bf16* weight_OI = call.tensor<bf16>("weight_OI", "OI");
  bf16* dx_NI = call.tensor<bf16>("dx_NI", "NI");
  LIMBECK_TRY(call.check());
  return cpu::linear_backward_input(linear_shape(call), {dout_NO, weight_OI, dx_NI});
}

Status linear_backward_weight(Call& call) {
  const bf16* dout_NO = call.tensor<bf16>("dout_NO", "NO");
  const bf16* x_NI = call.tensor<bf16>("x_NI", "NI");
  float* dweight_OI = call.tensor<float>("dweight_OI", "OI");
  LIMBECK_TRY(call.check());
  return cpu::linear_backward_weight(linear_shape(call), {dout_NO, x_NI, dweight_OI});
}

// Reads what both directions of rope have in common, after the rows.
struct RopeArguments {
  Rotary rotary;
  const float* bias_C;
  HeadNorms norms;
  int64_t heads, kv_heads;
};

Status rope_shape(const Call& call, const RopeArguments& given, RopeShape* shape) {
  int64_t width = 0;
  LIMBECK_TRY(head_width(call.extent('C'), given.heads, given.kv_heads, &width));
  if (2 * call.extent('F') != width) {
    return call.bad_shape("invFreq has " + std::to_string(call.extent('F')) + " elements; heads of width " + std::to_string(width) + " need half that");
  }
  if ((given.norms.q_K == nullptr) != (given.norms.k_K == nullptr)) return refuse(Code::bad_value, "qNorm_K and kNorm_K are given together or both absent");
  if (given.norms.q_K && call.extent('K') != width) {
    return call.bad_shape("qNorm_K and kNorm_K have " + std::to_string(call.extent('K')) + " elements; the heads' width is " + std::to_string(width));
  }
  *shape = {call.extent('N'), given.heads, given.kv_heads, width};
  return fine();
}

RopeArguments rope_arguments(Call& call) {
  RopeArguments given;
  given.rotary.positions_N = call.tensor<int32_t>("positions_N", "N");
  given.rotary.inv_freq = call.tensor<float>("invFreq", "F");
  given.bias_C = call.optional_tensor<float>("bias_C", "C");
  given.norms.q_K = call.optional_tensor<float>("qNorm_K", "K");
  given.norms.k_K = call.optional_tensor<float>("kNorm_K", "K");
  given.norms.eps = static_cast<float>(call.number_from("eps", 0));
  given.heads = call.integer("heads", 1, 1 << 20);
  given.kv_heads = call.integer("kvHeads", 1, 1 << 20);
  return given;
}

Status rope_forward(Call& call) {
  const bf16* qkv_NC = call.tensor<bf16>("qkv_NC", "NC");
  const RopeArguments given = rope_arguments(call);
  bf16* out_NC = call.tensor<bf16>("out_NC", "NC");
  LIMBECK_TRY(call.check());
  RopeShape shape;
  LIMBECK_TRY(rope_shape(call, given, &shape));
  return cpu::rope_forward(shape, {given.rotary, qkv_NC, given.bias_C, given.norms, out_NC});
}

Status check_rope_gradients(const RopeBackward& io) {
  if ((io.bias_C == nullptr) != (io.dbias_C == nullptr)) return refuse(Code::bad_value, "bias_C and dbias_C are given together or both absent");
  const int given = (io.qkv_NC != nullptr) + (io.dq_norm_K != nullptr) + (io.dk_norm_K != nullptr);
  if (given == (io.norms.q_K ? 3 : 0)) return fine();
  return refuse(Code::bad_value, "qkv_NC, dqNorm_K and dkNorm_K are given with qNorm_K and kNorm_K, and absent without them");
}

Status rope_backward(Call& call) {
  RopeBackward io;
  io.dqkv_NC = call.tensor<bf16>("dqkv_NC", "NC");
  io.qkv_NC = call.optional_tensor<bf16>("qkv_NC", "NC");
  const RopeArguments given = rope_arguments(call);
  io.rotary = given.rotary;
  io.bias_C = given.bias_C;
  io.norms = given.norms;
  io.dbias_C = call.optional_tensor<float>("dbias_C", "C");
  io.dq_norm_K = call.optional_tensor<float>("dqNorm_K", "K");
  io.dk_norm_K = call.optional_tensor<float>("dkNorm_K", "K");
  LIMBECK_TRY(call.check());
  RopeShape shape;
  LIMBECK_TRY(rope_shape(call, given, &shape));
  LIMBECK_TRY(check_rope_gradients(io));
  return cpu::rope_backward(shape, io);
}

Status check_gate_width(const Call& call, const char* name) {
  if (call.extent('W') == 2 * call.extent('F')) return fine();
  return call.bad_shape(std::string(name) + " has " + std::to_string(call.extent('W')) + " columns; F gates and F ups need " +
                        std::to_string(2 * call.extent('F')));
}

Status swiglu_forward(Call& call) {
  const bf16* gate_up_N2F = call.tensor<bf16>("gateUp_N2F", "NW");
  bf16* out_NF = call.tensor<bf16>("out_NF", "NF");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_gate_width(call, "gateUp_N2F"));
  return cpu::swiglu_forward({call.extent('N'), call.extent('F')}, {gate_up_N2F, out_NF});
}

Status pack_gated(Call& call) {
  const bf16* weight_2FI = call.tensor<bf16>("weight_2FI", "WI");
  bf16* packed_P = call.tensor<bf16>("packed_P", "P");
  LIMBECK_TRY(call.check());
  const int64_t F = call.extent('W') / 2;
  if (call.extent('W') != 2 * F) return call.bad_shape("weight_2FI must have as many gates as ups; it has " + std::to_string(call.extent('W')) + " rows");
  LIMBECK_TRY(expect_packed(call, gated, F));
  return cpu::pack_gated({0, call.extent('I'), F}, {weight_2FI, packed_P});
}

Status gated_linear(Call& call) {
  const bf16* x_NI = call.tensor<bf16>("x_NI", "NI");
  const bf16* packed_P = call.tensor<bf16>("packed_P", "P");
  bf16* out_NF = call.tensor<bf16>("out_NF", "NF");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(expect_packed(call, gated, call.extent('F')));
  return cpu::gated_linear({call.extent('N'), call.extent('I'), call.extent('F')}, {x_NI, packed_P, out_NF});
}

Status swiglu_backward(Call& call) {
  const bf16* dout_NF = call.tensor<bf16>("dout_NF", "NF");
  const bf16* gate_up_N2F = call.tensor<bf16>("gateUp_N2F", "NW");
  bf16* dgate_up_N2F = call.tensor<bf16>("dgateUp_N2F", "NW");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_gate_width(call, "gateUp_N2F"));
  return cpu::swiglu_backward({call.extent('N'), call.extent('F')}, {dout_NF, gate_up_N2F, dgate_up_N2F});
}

const Group group({{"embeddingForward", 3, embedding_forward},
                   {"embeddingBackward", 3, embedding_backward},
                   {"rmsNormForward", 6, rms_norm_forward},
                   {"rmsNormBackward", 7, rms_norm_backward},
                   {"linearForward", 3, linear_forward},
                   {"packedElements", 2, packed_elements},
                   {"packWeight", 2, pack_weight},
                   {"linearPacked", 3, linear_packed},
                   {"linearBackwardInput", 3, linear_backward_input},
                   {"linearBackwardWeight", 3, linear_backward_weight},
                   {"ropeForward", 10, rope_forward},
                   {"ropeBackward", 13, rope_backward},
                   {"swigluForward", 2, swiglu_forward},
                   {"swigluBackward", 3, swiglu_backward},
                   {"packedGatedElements", 2, packed_gated_elements},
                   {"packGated", 2, pack_gated},
                   {"gatedLinear", 3, gated_linear}});

}  // namespace
}  // namespace limbeck
