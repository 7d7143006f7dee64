// select_top.h -- the largest entries of a row.
#pragma once
#include <cstdint>

namespace limbeck {

struct Scored {
  float value;
  int32_t id;
};

// The order of every ranking: larger values first, among equals the smaller id.
inline bool ranks_before(const Scored& a, const Scored& b) { return a.value > b.value || (a.value == b.value && a.id < b.id); }

// Fills best[k] in ranking order; 0 <= k <= count. One pass over the row; time grows with k log k.
void select_top(const float* row, int64_t count, int64_t k, Scored* best);

}  // namespace limbeck
