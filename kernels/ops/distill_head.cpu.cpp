#include "ops/distill_head.h"

#include <algorithm>
#include <string>
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/distill_row.h"

namespace limbeck::cpu {

namespace {

Status check_ids(const char* name, const int32_t* ids, int64_t count, int64_t V) {
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= V) {
      return refuse(Code::bad_value, std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(ids[i]) + "; ids lie in [0, " +
                                         std::to_string(V) + ")");
    }
  }
  return fine();
}

Status check_targets(const HeadMatrices& head, const DistillTargets& targets) {
  LIMBECK_TRY(check_ids("ids_E", targets.ids_E, targets.E, head.V));
  if (targets.offsets_R1[0] != 0 || targets.offsets_R1[head.R] != targets.E) {
    return refuse(Code::bad_value, "offsets_R1 must run from 0 to the number of support entries, " + std::to_string(targets.E));
  }
  for (int64_t r = 0; r < head.R; ++r) {
    if (targets.offsets_R1[r + 1] <= targets.offsets_R1[r] || targets.offsets_R1[r + 1] > targets.E) {
      return refuse(Code::bad_value, "offsets_R1[" + std::to_string(r + 1) + "] is " + std::to_string(targets.offsets_R1[r + 1]) +
                                         "; each row must hold at least one support entry");
    }
    if (!(targets.tail_R[r] > 0)) {
      return refuse(Code::bad_value, "tail_R[" + std::to_string(r) + "] is " + std::to_string(targets.tail_R[r]) + "; it must be above 0");
    }
  }
  return fine();
}

Status check_rows(const HeadMatrices& head, const DistillRows& rows) {
  if (head.V < 1) return refuse(Code::bad_shape, "weight_VD has no rows; a vocabulary has at least one id");
  LIMBECK_TRY(check_ids("labels_R", rows.labels_R, head.R, head.V));
  if (rows.targets.ids_E) return check_targets(head, rows.targets);
  return rows.loss == Loss::hard ? fine() : refuse(Code::bad_value, "targets may be absent only for the loss hard");
}

DistillRow row_at(const HeadMatrices& head, const DistillRows& rows, int64_t r, float* logits_V, float* logits_E) {
  DistillRow row{logits_V, head.V, rows.labels_R[r], rows.loss, 0, nullptr, nullptr, 0, nullptr};
  const DistillTargets& targets = rows.targets;
  if (!targets.ids_E) return row;
  const int64_t begin = targets.offsets_R1[r];
  row.S = targets.offsets_R1[r + 1] - begin;
  row.ids_S = targets.ids_E + begin;
  row.log_probs_S = targets.log_probs_E + begin;
  row.tail = targets.tail_R[r];
  row.logits_S = logits_E + begin;
  return row;
}

// The gradient rows lie in the first halves of the logit rows: bf16 with a leading dimension of 2 V.
Status propagate(const HeadMatrices& head, const DistillOutputs& out, int64_t begin, int64_t count, const bf16* dz) {
  const GemmShape to_hidden{count, head.D, head.V, 2 * head.V, head.D, head.D};
  LIMBECK_TRY(gemm(to_hidden, dz, head.weight_VD, out.dhidden_RD + begin * head.D));
  GemmShape to_weight{head.V, head.D, count, 2 * head.V, head.D, head.D};
  to_weight.a = Layout::transposed;
  to_weight.accumulate = true;
  return gemm(to_weight, dz, head.hidden_RD + begin * head.D, out.dweight_VD);
}

}  // namespace

Status distill_head(const HeadMatrices& head, const DistillRows& rows, const DistillOutputs& out) {
  LIMBECK_TRY(check_rows(head, rows));
  const int64_t chunk = std::min(head_chunk_rows(head.V), head.R);
  void* memory = nullptr;
  LIMBECK_TRY(workspace((chunk * head.V + rows.targets.E) * sizeof(float), &memory));
  float* logits_CV = static_cast<float*>(memory);
  float* logits_E = logits_CV + chunk * head.V;
  for (int64_t begin = 0; begin < head.R; begin += chunk) {
    const int64_t count = std::min(chunk, head.R - begin);
    LIMBECK_TRY(head_logits(head, begin, count, logits_CV));
    parallel_for(count, [&](int64_t i) {
      const int64_t r = begin + i;
      const DistillRow row = row_at(head, rows, r, logits_CV + i * head.V, logits_E);
      const RowGradient gradient = measure_row(row, out.metrics_RM + r * row_metrics);
      if (out.dhidden_RD) differentiate_row(row, gradient, rows.scale_R[r]);
    });
    if (out.dhidden_RD) LIMBECK_TRY(propagate(head, out, begin, count, reinterpret_cast<const bf16*>(logits_CV)));
  }
  return fine();
}

}  // namespace limbeck::cpu
