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

float row_largest(const float* row, int64_t count);  // count >= 1
RowBest row_best(const float* row, int64_t count);   // the same, and where

constexpr float masked_logit = std::numeric_limits<float>::lowest();  // contributes nothing to any sum

struct ExpSums {
  double sum;       // sum of e = exp(x - largest)
  double weighted;  // sum of e (x - largest)
};

constexpr int64_t row_block = 1024;  // terms that are added in float32

// to = exp(from - largest); `to` may be `from`. The blocks' sums of e go to `block_sums`, [ceil(count / row_block)], unless that is null.
ExpSums exponentiate_row(const float* from, int64_t count, float largest, float* to, float* block_sums = nullptr);

}  // namespace limbeck
