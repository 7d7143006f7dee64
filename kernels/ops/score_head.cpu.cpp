#include "ops/score_head.h"

#include <algorithm>
#include <cmath>
#include <string>
#include "core/indices.h"
#include "core/parallel.h"
#include "core/select_top.h"
#include "core/softmax_row.h"
#include "core/workspace.h"

namespace limbeck::cpu {

namespace {

Status check_rows(const HeadMatrices& head, const ScoreRows& rows) {
  if (rows.k < 1 || rows.k > head.V) {
    return refuse(Code::bad_shape, "topIds has k = " + std::to_string(rows.k) + " columns; k lies between 1 and the vocabulary's size, " +
                                       std::to_string(head.V));
  }
  return check_indices({"labels_R", rows.labels_R, head.R}, head.V);
}

class RowScorer {
 public:
  RowScorer(const HeadMatrices& head, const ScoreRows& rows, const ScoreOutputs& out) : head_(head), rows_(rows), out_(out) {}

  // `logits_V` and `top_K` are scratch afterwards.
  void run(int64_t r, float* logits_V, Scored* top_K) const {
    const int32_t label = rows_.labels_R[r];
    const float label_logit = logits_V[label];
    select_top(logits_V, head_.V, rows_.k, top_K);
    const float largest = top_K[0].value;
    bool is_label_inside = false;
    double inside = 0;
    for (int64_t i = 0; i < rows_.k; ++i) {
      inside += std::exp(static_cast<double>(top_K[i].value) - largest);
      is_label_inside = is_label_inside || top_K[i].id == label;
      logits_V[top_K[i].id] = masked_logit;
    }
    if (!is_label_inside) inside += std::exp(static_cast<double>(label_logit) - largest);
    logits_V[label] = masked_logit;
    const double outside = exponentiate_row(logits_V, head_.V, largest, logits_V).sum;
    const double lse = largest + std::log(inside + outside);
    for (int64_t i = 0; i < rows_.k; ++i) {
      out_.top_ids_RK[r * rows_.k + i] = top_K[i].id;
      out_.top_log_probs_RK[r * rows_.k + i] = static_cast<float>(top_K[i].value - lse);
    }
    out_.label_log_probs_R[r] = static_cast<float>(label_logit - lse);
    out_.tail_R[r] = static_cast<float>(outside / (inside + outside));
  }

 private:
  const HeadMatrices& head_;
  const ScoreRows& rows_;
  const ScoreOutputs& out_;
};

}  // namespace

Status score_head(const HeadMatrices& head, const ScoreRows& rows, const ScoreOutputs& out) {
  LIMBECK_TRY(check_rows(head, rows));
  const int64_t chunk = std::min(head_chunk_rows(head.V), head.R);
  const int64_t logits_bytes = chunk * head.V * sizeof(float);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(logits_bytes + thread_count() * rows.k * sizeof(Scored), &memory));
  float* logits = static_cast<float*>(memory);
  Scored* tops = reinterpret_cast<Scored*>(static_cast<char*>(memory) + logits_bytes);
  for (int64_t begin = 0; begin < head.R; begin += chunk) {
    const int64_t count = std::min(chunk, head.R - begin);
    LIMBECK_TRY(head_logits(head, begin, count, logits));
    parallel_for(count, [&](int64_t row) {
      RowScorer(head, rows, out).run(begin + row, logits + row * head.V, tops + omp_get_thread_num() * rows.k);
    });
  }
  return fine();
}

}  // namespace limbeck::cpu
