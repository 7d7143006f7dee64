#include "core/select_top.h"

#include <algorithm>
#include "core/lanes.h"

namespace limbeck {

namespace {

// A heap whose front ranks last among the k kept.
class Kept {
 public:
  Kept(const float* row, int64_t k, Scored* best) : begin_(best), end_(best + k) {
    for (int64_t id = 0; id < k; ++id) best[id] = {row[id], static_cast<int32_t>(id)};
    std::make_heap(begin_, end_, ranks_before);
  }
  float threshold() const { return begin_->value; }
  // Ids arrive in ascending order, so an equal value ranks behind the front and stays out.
  void offer(float value, int64_t id) {
    if (!(value > threshold())) return;
    std::pop_heap(begin_, end_, ranks_before);
    end_[-1] = {value, static_cast<int32_t>(id)};
    std::push_heap(begin_, end_, ranks_before);
  }
  void sort() { std::sort_heap(begin_, end_, ranks_before); }

 private:
  Scored* begin_;
  Scored* end_;
};

}  // namespace

void select_top(const float* row, int64_t count, int64_t k, Scored* best) {
  if (k == 0) return;
  Kept kept(row, k, best);
  int64_t id = k;
  for (; id + Lanes::width <= count; id += Lanes::width) {
    if (!any_above(load(row + id), splat(kept.threshold()))) continue;
    for (int64_t lane = 0; lane < Lanes::width; ++lane) kept.offer(row[id + lane], id + lane);
  }
  for (; id < count; ++id) kept.offer(row[id], id);
  kept.sort();
}

}  // namespace limbeck
