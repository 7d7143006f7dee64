// bind_head.cpp -- what happens behind the last layer: scoring and sampling.
#include "binding/call.h"
#include "ops/sample_token.h"
#include "ops/score_head.h"

namespace limbeck {
namespace {

Status score_head(Call& call) {
  HeadMatrices head;
  ScoreRows rows;
  ScoreOutputs out;
  head.hidden_RD = call.tensor<bf16>("hidden_RD", "RD");
  head.weight_VD = call.tensor<bf16>("weight_VD", "VD");
  rows.labels_R = call.tensor<int32_t>("labels_R", "R");
  out.top_ids_RK = call.tensor<int32_t>("topIds", "RK");
  out.top_log_probs_RK = call.tensor<float>("topLogProbs", "RK");
  out.label_log_probs_R = call.tensor<float>("labelLogProbs_R", "R");
  out.tail_R = call.tensor<float>("tail_R", "R");
  LIMBECK_TRY(call.check());
  head.R = call.extent('R');
  head.V = call.extent('V');
  head.D = call.extent('D');
  rows.k = call.extent('K');
  return cpu::score_head(head, rows, out);
}

Status sample_token(Call& call) {
  SampleInputs in;
  SampleOutputs out;
  in.logits_BV = call.tensor<float>("logits_BV", "BV");
  in.temperature_B = call.tensor<float>("temperature_B", "B");
  in.top_k_B = call.tensor<int32_t>("topK_B", "B");
  in.top_p_B = call.tensor<float>("topP_B", "B");
  in.keys_B2 = call.tensor<int32_t>("keys_B2", "B2");
  in.counters_B4 = call.tensor<int32_t>("counters_B4", "B4");
  out.ids_B = call.tensor<int32_t>("ids_B", "B");
  out.log_probs_B = call.tensor<float>("logProbs_B", "B");
  LIMBECK_TRY(call.check());
  return cpu::sample_token({call.extent('B'), call.extent('V')}, in, out);
}

const Group group({{"scoreHead", 7, score_head}, {"sampleToken", 8, sample_token}});

}  // namespace
}  // namespace limbeck
