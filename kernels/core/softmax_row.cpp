#include "core/softmax_row.h"

#include <algorithm>
#include <cmath>
#include "core/lanes.h"

namespace limbeck {

namespace {

struct LaneSums {
  Lanes sum = splat(0);
  Lanes weighted = splat(0);
  Lanes add(Lanes x) {
    const Lanes e = exp(x);
    sum = sum + e;
    weighted = multiply_add(e, x, weighted);
    return e;
  }
};

}  // namespace

float row_largest(const float* row, int64_t count) {
  const int64_t whole = count / Lanes::width * Lanes::width;
  Lanes top = splat(row[0]);
  for (int64_t j = 0; j < whole; j += Lanes::width) top = larger(load(row + j), top);
  float largest = reduce_max(top);
  for (int64_t j = whole; j < count; ++j) largest = std::max(largest, row[j]);
  return largest;
}

RowBest row_best(const float* row, int64_t count) {
  const int64_t whole = count / Lanes::width * Lanes::width;
  const float largest = row_largest(row, count);
  const Lanes just_below = splat(std::nextafter(largest, std::numeric_limits<float>::lowest()));
  int64_t j = 0;
  while (j < whole && !any_above(load(row + j), just_below)) j += Lanes::width;
  while (j < count && row[j] != largest) ++j;
  return {largest, j < count ? j : 0};
}

ExpSums exponentiate_row(const float* from, int64_t count, float largest, float* to, float* block_sums) {
  const Lanes shift = splat(largest);
  ExpSums total{0, 0};
  for (int64_t begin = 0; begin < count; begin += row_block) {
    const int64_t end = std::min(begin + row_block, count);
    LaneSums sums;
    int64_t j = begin;
    for (; j + Lanes::width <= end; j += Lanes::width) store(to + j, sums.add(load(from + j) - shift));
    if (j < end) {
      float last[Lanes::width];
      std::fill(std::copy(from + j, from + end, last), last + Lanes::width, masked_logit);
      store_first(to + j, end - j, sums.add(load(last) - shift));
    }
    const float sum = reduce_add(sums.sum);
    if (block_sums) block_sums[begin / row_block] = sum;
    total.sum += sum;
    total.weighted += reduce_add(sums.weighted);
  }
  return total;
}

}  // namespace limbeck
