// bind_teacher.cpp -- what a served model answers.
#include "binding/call.h"
#include "ops/teacher_head.h"

namespace limbeck {
namespace {

Status teacher_head(Call& call) {
  HeadMatrices head;
  TeacherRows rows;
  TeacherOutputs out;
  head.hidden_RD = call.tensor<bf16>("hidden_RD", "RD");
  head.weight_VD = call.tensor<bf16>("weight_VD", "VD");
  rows.labels_R = call.tensor<int32_t>("labels_R", "R");
  rows.temperatures_R = call.tensor<float>("temperatures_R", "R");
  rows.uniforms_R = call.tensor<float>("uniforms_R", "R");
  out.top_ids_RK = call.tensor<int32_t>("topIds", "RK");
  out.top_logits_RK = call.tensor<float>("topLogits", "RK");
  out.label_logits_R = call.tensor<float>("labelLogits_R", "R");
  out.label_ranks_R = call.tensor<int32_t>("labelRanks_R", "R");
  out.log_sum_exp_R = call.tensor<float>("logSumExp_R", "R");
  out.drawn_ids_R = call.tensor<int32_t>("drawnIds_R", "R");
  out.drawn_logits_R = call.tensor<float>("drawnLogits_R", "R");
  LIMBECK_TRY(call.check());
  head.R = call.extent('R');
  head.V = call.extent('V');
  head.D = call.extent('D');
  rows.k = call.extent('K');
  return cpu::teacher_head(head, rows, out);
}

const Group group({{"teacherHead", 12, teacher_head}});

}  // namespace
}  // namespace limbeck
