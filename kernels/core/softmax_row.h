// softmax_row.h -- passes over one row of logits on one thread. Terms are float32; sums go through blocks of 1024 terms into float64, so that the
//   log-sum-exp of 10^5 logits is good to about 1e-7 and does not depend on how rows are grouped.
#pragma once
#include <cstdint>
#include <limits>

namespace limbeck {

struct RowBest {
  float value;
  int64_t id;  // the smallest among equals
};

RowBest row_best(const float* row, int64_t count);  // count >= 1

constexpr float masked_logit = std::numeric_limits<float>::lowest();  // contributes nothing to any sum

struct ExpSums {
  double sum;       // sum of e = exp(x - largest)
  double weighted;  // sum of e (x - largest)
};

// to = exp(from - largest); `to` may be `from`.
ExpSums exponentiate_row(const float* from, int64_t count, float largest, float* to);

}  // namespace limbeck
