#include "ops/sample_token.h"

#include <algorithm>
#include <cmath>
#include <string>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "core/select_top.h"
#include "core/softmax_row.h"
#include "core/workspace.h"

namespace limbeck::cpu {

namespace {

Status check_settings(const SampleShape& shape, const SampleInputs& in) {
  if (shape.V < 1) return refuse(Code::bad_shape, "logits_BV has no columns; a vocabulary has at least one id");
  for (int64_t b = 0; b < shape.B; ++b) {
    const std::string row = "[" + std::to_string(b) + "]";
    if (!(in.temperature_B[b] >= 0) || std::isinf(in.temperature_B[b])) return refuse(Code::bad_value, "temperature_B" + row + " must be finite and >= 0");
    if (in.top_k_B[b] < 0) return refuse(Code::bad_value, "topK_B" + row + " must be >= 0; 0 keeps every id");
    if (!(in.top_p_B[b] > 0 && in.top_p_B[b] <= 1)) return refuse(Code::bad_value, "topP_B" + row + " must lie in (0, 1]");
  }
  return fine();
}

constexpr int64_t block = 1024;

struct Row {
  const float* logits_V;
  int64_t V;
  RowBest best;
  double uniform;
};

// One thread's scratch.
struct RowScratch {
  float* weights_V;
  Scored* ranked_V;
};

int64_t floats_a_row(int64_t V) { return round_to_lanes(V); }

// weights = exp((z - max z) / temperature). The inverse is bounded so that 0 times it stays 0.
void weigh(const Row& row, float temperature, float* weights_V) {
  const float inverse = std::min(1.0f / temperature, 1e30f);
  for (int64_t j = 0; j < row.V; ++j) weights_V[j] = (row.logits_V[j] - row.best.value) * inverse;
  exponentiate_row(weights_V, row.V, 0, weights_V);
}

double block_weight(const float* weights_V, int64_t begin, int64_t end) {
  Lanes sum = splat(0);
  int64_t j = begin;
  for (; j + Lanes::width <= end; j += Lanes::width) sum = sum + load(weights_V + j);
  return reduce_add(sum + load_first(weights_V + j, end - j));
}

double total_weight(const Row& row, const float* weights_V) {
  double total = 0;
  for (int64_t begin = 0; begin < row.V; begin += block) total += block_weight(weights_V, begin, std::min(begin + block, row.V));
  return total;
}

// Draws from all ids: finds the block in which the running weight passes the target, then the id in it. The block's terms, added one by one in
// float64, may fall a rounding short of its float32 sum; the last id with weight is drawn then.
int32_t draw_from_all(const Row& row, const float* weights_V) {
  const double target = row.uniform * total_weight(row, weights_V);
  double running = 0;
  int64_t begin = 0;
  while (begin + block < row.V) {
    const double after = running + block_weight(weights_V, begin, begin + block);
    if (after > target) break;
    running = after;
    begin += block;
  }
  int64_t last = row.best.id;
  for (int64_t j = begin; j < std::min(begin + block, row.V); ++j) {
    running += weights_V[j];
    if (weights_V[j] > 0) last = j;
    if (running > target) break;
  }
  return static_cast<int32_t>(last);
}

// How many of the `count` highest ranked ids it takes to weigh `reach`; count + 1 when they do not.
int64_t nucleus(const RowScratch& scratch, int64_t count, double reach) {
  double running = 0;
  for (int64_t i = 0; i < count; ++i) {
    running += scratch.weights_V[scratch.ranked_V[i].id];
    if (running >= reach) return i + 1;
  }
  return count + 1;
}

// Ranks as many ids as top k and top p keep and answers their number. Without top k the nucleus is usually small: rank few, then eight times more.
int64_t rank_kept(const Row& row, const RowScratch& scratch, int64_t top_k, float top_p) {
  if (top_k > 0) {
    select_top(row.logits_V, row.V, top_k, scratch.ranked_V);
    double whole = 0;
    for (int64_t i = 0; i < top_k; ++i) whole += scratch.weights_V[scratch.ranked_V[i].id];
    return top_p < 1 ? std::min(nucleus(scratch, top_k, top_p * whole), top_k) : top_k;
  }
  const double reach = top_p * total_weight(row, scratch.weights_V);
  for (int64_t ranked = std::min<int64_t>(64, row.V);; ranked = std::min(8 * ranked, row.V)) {
    select_top(row.logits_V, row.V, ranked, scratch.ranked_V);
    const int64_t kept = nucleus(scratch, ranked, reach);
    if (kept <= ranked || ranked == row.V) return std::min(kept, ranked);
  }
}

int32_t draw_from_kept(const Row& row, const RowScratch& scratch, int64_t kept) {
  std::sort(scratch.ranked_V, scratch.ranked_V + kept, [](const Scored& a, const Scored& b) { return a.id < b.id; });
  double whole = 0;
  for (int64_t i = 0; i < kept; ++i) whole += scratch.weights_V[scratch.ranked_V[i].id];
  const double target = row.uniform * whole;
  double running = 0;
  int32_t last = scratch.ranked_V[0].id;
  for (int64_t i = 0; i < kept && running <= target; ++i) {
    const int32_t id = scratch.ranked_V[i].id;
    running += scratch.weights_V[id];
    if (scratch.weights_V[id] > 0) last = id;
  }
  return last;
}

int32_t draw(const Row& row, const SampleInputs& in, int64_t b, const RowScratch& scratch) {
  if (in.temperature_B[b] == 0) return static_cast<int32_t>(row.best.id);
  weigh(row, in.temperature_B[b], scratch.weights_V);
  const int64_t top_k = in.top_k_B[b] < row.V ? in.top_k_B[b] : 0;
  if (top_k == 0 && in.top_p_B[b] >= 1) return draw_from_all(row, scratch.weights_V);
  return draw_from_kept(row, scratch, rank_kept(row, scratch, top_k, in.top_p_B[b]));
}

double uniform_of(const SampleInputs& in, int64_t b) {
  const int32_t* key = in.keys_B2 + 2 * b;
  const int32_t* counter = in.counters_B4 + 4 * b;
  const auto word = [](int32_t bits) { return static_cast<uint32_t>(bits); };
  return philox_uniform({word(key[0]), word(key[1])}, {word(counter[0]), word(counter[1]), word(counter[2]), word(counter[3])});
}

}  // namespace

Status sample_token(const SampleShape& shape, const SampleInputs& in, const SampleOutputs& out) {
  LIMBECK_TRY(check_settings(shape, in));
  const int64_t weights_bytes = floats_a_row(shape.V) * sizeof(float);
  const int64_t thread_bytes = weights_bytes + floats_a_row(shape.V) * sizeof(Scored);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * thread_bytes, &memory));
  parallel_for(shape.B, [&](int64_t b) {
    char* own = static_cast<char*>(memory) + omp_get_thread_num() * thread_bytes;
    const RowScratch scratch{reinterpret_cast<float*>(own), reinterpret_cast<Scored*>(own + weights_bytes)};
    const float* logits_V = in.logits_BV + b * shape.V;
    const Row row{logits_V, shape.V, row_best(logits_V, shape.V), uniform_of(in, b)};
    const double lse = std::log(exponentiate_row(logits_V, shape.V, row.best.value, scratch.weights_V).sum) + row.best.value;
    out.ids_B[b] = draw(row, in, b, scratch);
    out.log_probs_B[b] = static_cast<float>(logits_V[out.ids_B[b]] - lse);
  });
  return fine();
}

}  // namespace limbeck::cpu
