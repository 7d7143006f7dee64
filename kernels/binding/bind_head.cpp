// bind_head.cpp -- what happens behind the last layer: distilling, scoring and sampling.
#include "binding/call.h"
#include "ops/distill_head.h"
#include "ops/sample_token.h"
#include "ops/score_head.h"

namespace limbeck {
namespace {

Status check_presence(const Call& call, const DistillRows& rows, const DistillOutputs& out) {
  const DistillTargets& targets = rows.targets;
  const int given = (targets.offsets_R1 != nullptr) + (targets.ids_E != nullptr) + (targets.log_probs_E != nullptr) + (targets.tail_R != nullptr);
  if (given != 0 && given != 4) return refuse(Code::bad_value, "offsets_R1, ids_E, logProbs_E and tail_R are given together or all absent");
  if ((out.dhidden_RD == nullptr) != (out.dweight_VD == nullptr)) {
    return refuse(Code::bad_value, "dhidden_RD and dweight_VD are given together or both absent");
  }
  if (given == 0 || call.extent('S') == call.extent('R') + 1) return fine();
  return call.bad_shape("offsets_R1 has " + std::to_string(call.extent('S')) + " entries; it must have one more than the " +
                        std::to_string(call.extent('R')) + " rows");
}

Status distill_head(Call& call) {
  HeadMatrices head;
  DistillRows rows;
  DistillOutputs out;
  rows.loss = static_cast<Loss>(call.integer("lossCode", 0, 2));
  head.hidden_RD = call.tensor<bf16>("hidden_RD", "RD");
  head.weight_VD = call.tensor<bf16>("weight_VD", "VD");
  rows.labels_R = call.tensor<int32_t>("labels_R", "R");
  rows.scale_R = call.tensor<float>("scale_R", "R");
  rows.targets.offsets_R1 = call.optional_tensor<int32_t>("offsets_R1", "S");
  rows.targets.ids_E = call.optional_tensor<int32_t>("ids_E", "E");
  rows.targets.log_probs_E = call.optional_tensor<float>("logProbs_E", "E");
  rows.targets.tail_R = call.optional_tensor<float>("tail_R", "R");
  out.metrics_RM = call.tensor<float>("metrics_RM", "R8");
  out.dhidden_RD = call.optional_tensor<bf16>("dhidden_RD", "RD");
  out.dweight_VD = call.optional_tensor<float>("dweight_VD", "VD");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_presence(call, rows, out));
  head.R = call.extent('R');
  head.V = call.extent('V');
  head.D = call.extent('D');
  if (rows.targets.ids_E) rows.targets.E = call.extent('E');
  return cpu::distill_head(head, rows, out);
}

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

const Group group({{"distillHead", 12, distill_head}, {"scoreHead", 7, score_head}, {"sampleToken", 8, sample_token}});

}  // namespace
}  // namespace limbeck
