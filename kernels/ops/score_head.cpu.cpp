#include "ops/score_head.h"

#include <algorithm>
#include <cmath>
#include <string>
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
  for (int64_t r = 0; r < head.R; ++r) {
    if (rows.labels_R[r] < 0 || rows.labels_R[r] >= head.V) {
      return refuse(Code::bad_value, "labels_R[" + std::to_string(r) + "] is " + std::to_string(rows.labels_R[r]) + "; ids lie in [0, " +
                                         std::to_string(head.V) + ")");
    }
  }
  return fine();
}

// `logits_V` is scratch afterwards; `top` holds k entries.
void score_row(const HeadMatrices& head, const ScoreRows& rows, const ScoreOutputs& out, int64_t r, float* logits_V, Scored* top) {
  const int32_t label = rows.labels_R[r];
  const float label_logit = logits_V[label];
  select_top(logits_V, head.V, rows.k, top);
  const float largest = top[0].value;
  double inside = 0;
  for (int64_t i = 0; i < rows.k; ++i) {
    inside += std::exp(static_cast<double>(top[i].value) - largest);
    logits_V[top[i].id] = masked_logit;
  }
  if (logits_V[label] != masked_logit) inside += std::exp(static_cast<double>(label_logit) - largest);
  logits_V[label] = masked_logit;
  const double outside = exponentiate_row(logits_V, head.V, largest, logits_V).sum;
  const double lse = largest + std::log(inside + outside);
  for (int64_t i = 0; i < rows.k; ++i) {
    out.top_ids_RK[r * rows.k + i] = top[i].id;
    out.top_log_probs_RK[r * rows.k + i] = static_cast<float>(top[i].value - lse);
  }
  out.label_log_probs_R[r] = static_cast<float>(label_logit - lse);
  out.tail_R[r] = static_cast<float>(outside / (inside + outside));
}

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
      score_row(head, rows, out, begin + row, logits + row * head.V, tops + omp_get_thread_num() * rows.k);
    });
  }
  return fine();
}

}  // namespace limbeck::cpu
