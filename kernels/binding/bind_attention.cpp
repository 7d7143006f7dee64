// bind_attention.cpp -- attention over packed sequences and over the KV cache.
#include "binding/call.h"
#include "ops/attention.h"

namespace limbeck {
namespace {

// Reads `heads` and `kvHeads` behind a fused tensor [N, C] and fixes O = Hq K and H = Hq.
Status read_heads(Call& call, HeadShape* shape) {
  shape->Hq = call.integer("heads", 1, 1 << 20);
  shape->Hkv = call.integer("kvHeads", 1, 1 << 20);
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(head_width(call.extent('C'), shape->Hq, shape->Hkv, &shape->K));
  return fine();
}

Status expect_outputs(const Call& call, const HeadShape& shape) {
  if (call.extent('O') == shape.Hq * shape.K) return fine();
  return call.bad_shape("out is " + std::to_string(call.extent('O')) + " wide; " + std::to_string(shape.Hq) + " heads of width " +
                        std::to_string(shape.K) + " make " + std::to_string(shape.Hq * shape.K));
}

Status expect_lse(const Call& call, const HeadShape& shape) {
  if (call.extent('H') == shape.Hq) return fine();
  return call.bad_shape("lse must have one column a query head, " + std::to_string(shape.Hq) + ", not " + std::to_string(call.extent('H')));
}

Status packed_shape(const Call& call, const HeadShape& heads, AttentionShape* shape) {
  if (call.extent('S') < 1) return call.bad_shape("cuSeqlens_S1 is empty; it holds one entry more than there are sequences");
  *shape = {call.extent('N'), call.extent('S') - 1, heads};
  return fine();
}

Status forward(Call& call) {
  AttentionForward io;
  HeadShape heads;
  io.qkv_NC = call.tensor<bf16>("qkv_NC", "NC");
  io.cu_seqlens_S1 = call.tensor<int32_t>("cuSeqlens_S1", "S");
  LIMBECK_TRY(read_heads(call, &heads));
  io.out_NHK = call.tensor<bf16>("out", "NO");
  io.lse_NH = call.tensor<float>("lse", "NH");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(expect_outputs(call, heads));
  LIMBECK_TRY(expect_lse(call, heads));
  AttentionShape shape;
  LIMBECK_TRY(packed_shape(call, heads, &shape));
  return cpu::attention_forward(shape, io);
}

Status backward(Call& call) {
  AttentionBackward io;
  HeadShape heads;
  io.dout_NHK = call.tensor<bf16>("dout", "NO");
  io.qkv_NC = call.tensor<bf16>("qkv_NC", "NC");
  io.out_NHK = call.tensor<bf16>("out", "NO");
  io.lse_NH = call.tensor<float>("lse", "NH");
  io.cu_seqlens_S1 = call.tensor<int32_t>("cuSeqlens_S1", "S");
  LIMBECK_TRY(read_heads(call, &heads));
  io.dqkv_NC = call.tensor<bf16>("dqkv_NC", "NC");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(expect_outputs(call, heads));
  LIMBECK_TRY(expect_lse(call, heads));
  AttentionShape shape;
  LIMBECK_TRY(packed_shape(call, heads, &shape));
  return cpu::attention_backward(shape, io);
}

Status decode(Call& call) {
  AttentionDecode io;
  HeadShape heads;
  io.qkv_NC = call.tensor<bf16>("qkv_NC", "NC");
  io.slots_N = call.tensor<int32_t>("slots_N", "N");
  io.positions_N = call.tensor<int32_t>("positions_N", "N");
  const int32_t* pages_BM = call.tensor<int32_t>("pages_BM", "BM");
  LIMBECK_TRY(read_heads(call, &heads));
  call.expect('E', page_positions * heads.Hkv * heads.K);
  io.k_cache = call.tensor<bf16>("kCache", "PE");
  io.v_cache = call.tensor<bf16>("vCache", "PE");
  io.out_NHK = call.tensor<bf16>("out", "NO");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(expect_outputs(call, heads));
  const CacheLayout cache{pages_BM, call.extent('B'), call.extent('M'), call.extent('P'), heads.Hkv, heads.K};
  return cpu::attention_decode({call.extent('N'), heads, cache}, io);
}

const Group group({{"attentionForward", 6, forward}, {"attentionBackward", 8, backward}, {"attentionDecode", 9, decode}});

}  // namespace
}  // namespace limbeck
