#include "ops/teacher_head.h"

#include <algorithm>
#include <cmath>
#include <string>
#include "core/indices.h"
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/select_top.h"
#include "core/softmax_row.h"
#include "core/workspace.h"

namespace limbeck::cpu {

namespace {

Status check_rows(const HeadMatrices& head, const TeacherRows& rows) {
  if (rows.k < 1 || rows.k > head.V) {
    return refuse(Code::bad_shape, "topIds has k = " + std::to_string(rows.k) + " columns; k lies between 1 and the vocabulary's size, " +
                                       std::to_string(head.V));
  }
  for (int64_t r = 0; r < head.R; ++r) {
    const std::string row = "[" + std::to_string(r) + "]";
    if (!(rows.temperatures_R[r] >= 0) || std::isinf(rows.temperatures_R[r])) return refuse(Code::bad_value, "temperatures_R" + row + " must be finite and >= 0");
    if (!(rows.uniforms_R[r] >= 0 && rows.uniforms_R[r] <= 1)) return refuse(Code::bad_value, "uniforms_R" + row + " must lie in [0, 1]");
  }
  return check_indices({"labels_R", rows.labels_R, head.R}, head.V);
}

int32_t rank_of(float logit, const float* logits_V, int64_t V) {
  int32_t rank = 0;
  for (int64_t j = 0; j < V; ++j) rank += logits_V[j] >= logit;
  return rank;
}

// One row on one thread, with scratch of its own.
class RowTeacher {
 public:
  RowTeacher(const float* logits_V, int64_t V, float* weights_V) : logits_V_(logits_V), V_(V), weights_V_(weights_V) {}

  // Leaves the weights of temperature 1.
  float log_sum_exp(float largest) {
    sum_ = exponentiate_row(logits_V_, V_, largest, weights_V_).sum;
    return static_cast<float>(largest + std::log(sum_));
  }

  // To be called after log_sum_exp. The inverse is bounded so that 0 times it stays 0.
  int32_t draw(float largest, float temperature, float uniform) {
    if (temperature != 1) {
      const float inverse = std::min(1.0f / temperature, 1e30f);
      for (int64_t j = 0; j < V_; ++j) weights_V_[j] = (logits_V_[j] - largest) * inverse;
      sum_ = exponentiate_row(weights_V_, V_, 0, weights_V_).sum;
    }
    const double target = uniform * sum_;
    double running = 0;
    int64_t last = 0;
    for (int64_t j = 0; j < V_; ++j) {
      running += weights_V_[j];
      if (weights_V_[j] > 0) last = j;
      if (running > target) break;
    }
    return static_cast<int32_t>(last);
  }

 private:
  const float* logits_V_;
  const int64_t V_;
  float* weights_V_;
  double sum_ = 0;
};

// Scratch of one thread: the ranking, then the weights of a row.
struct Scratch {
  Scored* top_K;
  float* weights_V;
  static int64_t bytes(int64_t k, int64_t V) { return round_to_lanes(k) * sizeof(Scored) + round_to_lanes(V) * sizeof(float); }
  Scratch(int64_t k, char* memory) : top_K(reinterpret_cast<Scored*>(memory)), weights_V(reinterpret_cast<float*>(memory + round_to_lanes(k) * sizeof(Scored))) {}
};

struct Row {
  int64_t r;
  const float* logits_V;
};

void answer_row(const Row& row, int64_t V, const TeacherRows& rows, const TeacherOutputs& out, const Scratch& scratch) {
  const int64_t r = row.r;
  select_top(row.logits_V, V, rows.k, scratch.top_K);
  for (int64_t i = 0; i < rows.k; ++i) {
    out.top_ids_RK[r * rows.k + i] = scratch.top_K[i].id;
    out.top_logits_RK[r * rows.k + i] = scratch.top_K[i].value;
  }
  const Scored best = scratch.top_K[0];
  out.label_logits_R[r] = row.logits_V[rows.labels_R[r]];
  out.label_ranks_R[r] = rank_of(out.label_logits_R[r], row.logits_V, V);
  RowTeacher teacher(row.logits_V, V, scratch.weights_V);
  out.log_sum_exp_R[r] = teacher.log_sum_exp(best.value);
  const int32_t drawn = rows.temperatures_R[r] > 0 ? teacher.draw(best.value, rows.temperatures_R[r], rows.uniforms_R[r]) : best.id;
  out.drawn_ids_R[r] = drawn;
  out.drawn_logits_R[r] = row.logits_V[drawn];
}

}  // namespace

Status teacher_head(const HeadMatrices& head, const TeacherRows& rows, const TeacherOutputs& out) {
  LIMBECK_TRY(check_rows(head, rows));
  const int64_t chunk = std::min(head_chunk_rows(head.V), head.R);
  const int64_t logits_bytes = round_to_lanes(chunk * head.V) * sizeof(float);
  const int64_t scratch_bytes = Scratch::bytes(rows.k, head.V);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(logits_bytes + thread_count() * scratch_bytes, &memory));
  float* logits = static_cast<float*>(memory);
  char* scratches = static_cast<char*>(memory) + logits_bytes;
  for (int64_t begin = 0; begin < head.R; begin += chunk) {
    const int64_t count = std::min(chunk, head.R - begin);
    LIMBECK_TRY(head_logits(head, begin, count, logits));
    parallel_for(count, [&](int64_t row) {
      const Scratch scratch(rows.k, scratches + omp_get_thread_num() * scratch_bytes);
      answer_row({begin + row, logits + row * head.V}, head.V, rows, out, scratch);
    });
  }
  return fine();
}

}  // namespace limbeck::cpu
