#include "ops/rope.h"

#include "core/lanes.h"
#include "core/parallel.h"
#include "core/workspace.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t row_block = 8;

struct Direction {
  float cosine, sine;
};

// Plain selections, so that a loop over it becomes vector instructions. Polynomials: Cephes sinf and cosf on [-pi/4, pi/4], within 1e-7.
inline Direction direction(double angle) {
  constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number
  const double quarters = angle * 0.63661977236758134;  // angle / (pi/2)
  const double whole = (quarters + rounder) - rounder;
  const float r = static_cast<float>((quarters - whole) * 1.5707963267948966);
  const float turn = static_cast<float>(whole - 4.0 * ((whole * 0.25 + rounder) - rounder));  // -2, -1, 0, 1 or 2
  const float z = r * r;
  const float sine = r + r * z * (-1.6666654611e-1f + z * (8.3321608736e-3f - z * 1.9515295891e-4f));
  const float cosine = 1.0f - 0.5f * z + z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
  const bool odd = turn == 1.0f || turn == -1.0f;
  const float sine_sign = turn == 2.0f || turn == -2.0f || turn == -1.0f ? -1.0f : 1.0f;
  const float cosine_sign = turn == 2.0f || turn == -2.0f || turn == 1.0f ? -1.0f : 1.0f;
  return {cosine_sign * (odd ? sine : cosine), sine_sign * (odd ? cosine : sine)};
}

// Fills a row of directions: K/2 cosines, then K/2 sines.
void aim(const RopeShape& shape, const Rope& io, int64_t n, float* directions_K) {
  const int64_t half = shape.K / 2;
  const float sign = io.rotation == Rotation::forward ? 1.0f : -1.0f;
  const double position = io.positions_N[n];
  for (int64_t i = 0; i < half; ++i) {
    const Direction d = direction(position * static_cast<double>(io.inv_freq[i]));
    directions_K[i] = d.cosine;
    directions_K[half + i] = sign * d.sine;
  }
}

void turn_head(int64_t half, const float* directions_K, bf16* head_K) {
  for_lanes(half, [&](int64_t i, int64_t count) {
    const Lanes cosine = load_first(directions_K + i, count);
    const Lanes sine = load_first(directions_K + half + i, count);
    const Lanes low = load_first(head_K + i, count);
    const Lanes high = load_first(head_K + half + i, count);
    store_first(head_K + i, count, low * cosine - high * sine);
    store_first(head_K + half + i, count, high * cosine + low * sine);
  });
}

}  // namespace

Status rope(const RopeShape& shape, const Rope& io) {
  void* scratch = nullptr;
  LIMBECK_TRY(workspace(static_cast<size_t>(shape.N * shape.K) * sizeof(float), &scratch));
  float* directions_NK = static_cast<float*>(scratch);
  parallel_blocks(shape.N, row_block, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      float* directions_K = directions_NK + n * shape.K;
      aim(shape, io, n, directions_K);
      for (int64_t head = 0; head < shape.heads; ++head) turn_head(shape.K / 2, directions_K, io.qkv_NC + n * shape.C + head * shape.K);
    }
  });
  return fine();
}

}  // namespace limbeck::cpu
