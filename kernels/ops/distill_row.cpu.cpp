#include "ops/distill_row.h"

#include <cmath>
#include <limits>
#include "core/lanes.h"
#include "core/softmax_row.h"

namespace limbeck::cpu {

namespace {

// The student's side of a row. Logarithms are relative to the largest logit.
struct Student {
  RowBest best;
  double label_logit;
  double sum;      // of e = exp(z - largest) over all ids
  double log_sum;
  double off;      // of e off the support
  double entropy;
};

Student read_student(const DistillRow& row) {
  Student student;
  student.best = row_best(row.logits_V, row.V);
  const float largest = student.best.value;
  student.label_logit = static_cast<double>(row.logits_V[row.label]) - largest;
  double inside = 0;
  double weighted = 0;
  for (int64_t s = 0; s < row.S; ++s) {
    float& z = row.logits_V[row.ids_S[s]];
    const double x = static_cast<double>(z) - largest;
    row.logits_S[s] = z;
    z = masked_logit;
    inside += std::exp(x);
    weighted += std::exp(x) * x;
  }
  const ExpSums outside = exponentiate_row(row.logits_V, row.V, largest, row.logits_V);
  student.off = outside.sum;
  student.sum = inside + outside.sum;
  student.log_sum = std::log(student.sum);
  student.entropy = student.log_sum - (weighted + outside.weighted) / student.sum;
  return student;
}

// Sums over the support and the bucketed tail.
struct Comparison {
  double forward = 0;
  double reverse = 0;
  double teacher_entropy = 0;
  double support_mass = 0;     // of the student
  double teacher_mass = 0;     // sum_S q
  double tail = 0;             // p_T, floored
  bool is_floored = false;
  int32_t teacher_best = -1;
};

Comparison compare(const DistillRow& row, const Student& student) {
  Comparison sums;
  int64_t best = 0;
  for (int64_t s = 0; s < row.S; ++s) {
    const double log_p = static_cast<double>(row.logits_S[s]) - student.best.value - student.log_sum;
    const double log_q = row.log_probs_S[s];
    const double p = std::exp(log_p);
    const double q = std::exp(log_q);
    sums.forward += q * (log_q - log_p);
    sums.reverse += p * (log_p - log_q);
    sums.teacher_entropy -= q * log_q;
    sums.support_mass += p;
    sums.teacher_mass += q;
    const bool is_better = row.log_probs_S[s] > row.log_probs_S[best] || (row.log_probs_S[s] == row.log_probs_S[best] && row.ids_S[s] < row.ids_S[best]);
    if (is_better) best = s;
  }
  const double tail = student.off / student.sum;
  sums.is_floored = tail <= tail_floor;
  sums.tail = sums.is_floored ? tail_floor : tail;
  const double log_ratio = std::log(sums.tail) - std::log(row.tail);
  sums.forward -= row.tail * log_ratio;
  sums.reverse += sums.tail * log_ratio;
  sums.teacher_entropy -= row.tail * std::log(row.tail);
  sums.teacher_best = row.ids_S[best];
  return sums;
}

RowGradient gradient_of(const DistillRow& row, const Student& student, const Comparison& sums) {
  RowGradient gradient{1, 1, 0, 0, student.best.value, student.sum};
  if (row.loss == Loss::forward_kl) {
    gradient.on = sums.is_floored ? sums.teacher_mass : sums.teacher_mass + row.tail;
    gradient.off = sums.is_floored ? gradient.on : gradient.on - row.tail / sums.tail;
    gradient.target = 1;
  } else if (row.loss == Loss::reverse_kl) {
    const double tail_ratio = std::log(sums.tail) - std::log(row.tail);
    const double support_part = sums.reverse - sums.tail * tail_ratio + sums.support_mass;  // A
    gradient.on = sums.is_floored ? 1 - support_part : -sums.reverse;
    gradient.off = sums.is_floored ? -support_part : tail_ratio - sums.reverse;
    gradient.log_ratio = 1;
  }
  return gradient;
}

void write_metrics(const DistillRow& row, const Student& student, const Comparison& sums, float* metrics) {
  constexpr double absent = std::numeric_limits<double>::quiet_NaN();
  const bool has_teacher = row.S > 0;
  const double label_log_prob = student.label_logit - student.log_sum;
  const double losses[] = {-label_log_prob, sums.forward, sums.reverse};
  metrics[0] = static_cast<float>(losses[static_cast<int>(row.loss)]);
  metrics[1] = static_cast<float>(has_teacher ? sums.forward : absent);
  metrics[2] = static_cast<float>(has_teacher ? sums.reverse : absent);
  metrics[3] = static_cast<float>(student.entropy);
  metrics[4] = static_cast<float>(has_teacher ? sums.teacher_entropy : absent);
  metrics[5] = static_cast<float>(has_teacher ? sums.support_mass : absent);
  metrics[6] = static_cast<float>(has_teacher ? sums.teacher_best == student.best.id : absent);
  metrics[7] = static_cast<float>(label_log_prob);
}

// Widened values are read before the narrower ones take their place: 16 floats at j become 16 bf16 at half that offset.
void scale_in_place(float* row, int64_t count, float factor) {
  bf16* narrow = reinterpret_cast<bf16*>(row);
  int64_t j = 0;
  for (; j + Lanes::width <= count; j += Lanes::width) store_bf16(narrow + j, load(row + j) * splat(factor));
  store_first(narrow + j, count - j, load_first(row + j, count - j) * splat(factor));
}

}  // namespace

RowGradient measure_row(const DistillRow& row, float* metrics) {
  const Student student = read_student(row);
  const Comparison sums = row.S > 0 ? compare(row, student) : Comparison{};
  write_metrics(row, student, sums, metrics);
  return gradient_of(row, student, sums);
}

void differentiate_row(const DistillRow& row, const RowGradient& gradient, double scale) {
  const double label_e = row.logits_V[row.label];  // 0 when the label lies on the support
  scale_in_place(row.logits_V, row.V, static_cast<float>(scale * gradient.off / gradient.sum));
  bf16* dz_V = reinterpret_cast<bf16*>(row.logits_V);
  double label_p = label_e / gradient.sum;
  const double log_sum = std::log(gradient.sum);
  for (int64_t s = 0; s < row.S; ++s) {
    const double log_p = static_cast<double>(row.logits_S[s]) - gradient.largest - log_sum;
    const double p = std::exp(log_p);
    const double q = std::exp(static_cast<double>(row.log_probs_S[s]));
    const double dz = p * (gradient.on + gradient.log_ratio * (log_p - row.log_probs_S[s])) - gradient.target * q;
    dz_V[row.ids_S[s]] = to_bf16(static_cast<float>(scale * dz));
    if (row.ids_S[s] == row.label) label_p = p;
  }
  if (row.loss == Loss::hard) dz_V[row.label] = to_bf16(static_cast<float>(scale * (label_p - 1)));
}

}  // namespace limbeck::cpu
