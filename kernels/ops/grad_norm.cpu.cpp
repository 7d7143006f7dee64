#include "ops/grad_norm.h"

#include <algorithm>
#include <cmath>
#include "core/lanes.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t ahead = 512;                // elements
constexpr int64_t block_elements = 1 << 13;  // 512 additions a lane keep a float32 sum within a few 1e-6

float sum_of_squares(const float* data, int64_t count) {
  Lanes sum = splat(0);
  for_lanes(count, [&](int64_t i, int64_t lanes) {
    _mm_prefetch(reinterpret_cast<const char*>(data + i + ahead), _MM_HINT_T0);
    const Lanes value = load_first(data + i, lanes);
    sum = multiply_add(value, value, sum);
  });
  return reduce_add(sum);
}

std::vector<Gradient> cut_into_blocks(const std::vector<Gradient>& gradients) {
  std::vector<Gradient> blocks;
  for (const Gradient& gradient : gradients) {
    for (int64_t begin = 0; begin < gradient.elements; begin += block_elements) {
      blocks.push_back({gradient.data + begin, std::min(block_elements, gradient.elements - begin)});
    }
  }
  return blocks;
}

}  // namespace

Status grad_norm(const std::vector<Gradient>& gradients, float clip, float* out_2) {
  const std::vector<Gradient> blocks = cut_into_blocks(gradients);
  std::vector<float> sums(blocks.size());
  parallel_blocks(static_cast<int64_t>(blocks.size()), 16, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) sums[block] = sum_of_squares(blocks[block].data, blocks[block].elements);
  });
  double total = 0;
  for (const float sum : sums) total += sum;
  const double norm = std::sqrt(total);
  const double factor = clip / norm;
  out_2[0] = static_cast<float>(norm);
  out_2[1] = factor > 1 ? 1.0f : static_cast<float>(factor);
  return fine();
}

}  // namespace limbeck::cpu
