#include "ops/distill_head.h"

#include <algorithm>
#include <string>
#include "core/indices.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/distill_row.h"

namespace limbeck::cpu {

namespace {

Status check_targets(const HeadMatrices& head, const DistillTargets& targets) {
  LIMBECK_TRY(check_indices({"ids_E", targets.ids_E, targets.E}, head.V));
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
  LIMBECK_TRY(check_indices({"labels_R", rows.labels_R, head.R}, head.V));
  if (rows.targets.ids_E) return check_targets(head, rows.targets);
  return rows.loss == Loss::hard ? fine() : refuse(Code::bad_value, "targets may be absent only for the loss hard");
}

// Each chunk reads and writes all of dweight once, and reads the weight twice: 200 rows of products take little longer than that.
int64_t training_chunk_rows(int64_t V) { return head_chunk_rows(V, int64_t{320} << 20, 1024); }

// Scratch of one call.
struct Chunk {
  int64_t rows;  // the most rows
  float* logits_CV;
  float* logits_E;  // of every support, since the gradient overwrites the rows
};

class HeadPass {
 public:
  HeadPass(const HeadMatrices& head, const DistillRows& rows, const DistillOutputs& out, const Chunk& chunk)
      : head_(head), rows_(rows), out_(out), chunk_(chunk) {}

  Status run(int64_t begin) const {
    const int64_t count = std::min(chunk_.rows, head_.R - begin);
    LIMBECK_TRY(head_logits(head_, begin, count, chunk_.logits_CV));
    parallel_for(count, [&](int64_t i) {
      const DistillRow row = row_at(begin + i, chunk_.logits_CV + i * head_.V);
      const RowGradient gradient = measure_row(row, out_.metrics_RM + (begin + i) * row_metrics);
      if (out_.dhidden_RD) differentiate_row(row, gradient, rows_.scale_R[begin + i]);
    });
    return out_.dhidden_RD ? propagate(begin, count) : fine();
  }

 private:
  DistillRow row_at(int64_t r, float* logits_V) const {
    DistillRow row{logits_V, head_.V, rows_.labels_R[r], rows_.loss, 0, nullptr, nullptr, 0, nullptr};
    const DistillTargets& targets = rows_.targets;
    if (!targets.ids_E) return row;
    const int64_t begin = targets.offsets_R1[r];
    row.S = targets.offsets_R1[r + 1] - begin;
    row.ids_S = targets.ids_E + begin;
    row.log_probs_S = targets.log_probs_E + begin;
    row.tail = targets.tail_R[r];
    row.logits_S = chunk_.logits_E + begin;
    return row;
  }

  // The gradient rows lie in the first halves of the logit rows: bf16 with a leading dimension of 2 V.
  Status propagate(int64_t begin, int64_t count) const {
    const bf16* dz_CV = reinterpret_cast<const bf16*>(chunk_.logits_CV);
    const GemmShape to_hidden{count, head_.D, head_.V, 2 * head_.V, head_.D, head_.D};
    LIMBECK_TRY(gemm(to_hidden, dz_CV, head_.weight_VD, out_.dhidden_RD + begin * head_.D));
    GemmShape to_weight{head_.V, head_.D, count, 2 * head_.V, head_.D, head_.D};
    to_weight.a = Layout::transposed;
    to_weight.accumulate = true;
    return gemm(to_weight, dz_CV, head_.hidden_RD + begin * head_.D, out_.dweight_VD);
  }

  const HeadMatrices& head_;
  const DistillRows& rows_;
  const DistillOutputs& out_;
  const Chunk& chunk_;
};

}  // namespace

Status distill_head(const HeadMatrices& head, const DistillRows& rows, const DistillOutputs& out) {
  LIMBECK_TRY(check_rows(head, rows));
  Chunk chunk{std::min(training_chunk_rows(head.V), head.R), nullptr, nullptr};
  void* memory = nullptr;
  LIMBECK_TRY(workspace((chunk.rows * head.V + rows.targets.E) * sizeof(float), &memory));
  chunk.logits_CV = static_cast<float*>(memory);
  chunk.logits_E = chunk.logits_CV + chunk.rows * head.V;
  for (int64_t begin = 0; begin < head.R; begin += chunk.rows) LIMBECK_TRY(HeadPass(head, rows, out, chunk).run(begin));
  return fine();
}

}  // namespace limbeck::cpu
