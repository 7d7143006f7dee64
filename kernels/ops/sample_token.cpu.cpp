#include "ops/sample_token.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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

float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Row {
  const float* logits_V;
  int64_t V;
  RowBest best;
  double uniform;
};

// weights = exp((z - max z) / temperature). The inverse is bounded so that 0 times it stays 0.
void weigh(const Row& row, float temperature, float* weights_V) {
  const float inverse = std::min(1.0f / temperature, 1e30f);
  for (int64_t j = 0; j < row.V; ++j) weights_V[j] = (row.logits_V[j] - row.best.value) * inverse;
  exponentiate_row(weights_V, row.V, 0, weights_V);
}

// Sums of float32 lanes within a block, of float64 between blocks: adding weights never lowers a sum, which the search below needs.
double block_weight(const float* weights_V, int64_t begin, int64_t end, float least) {
  Lanes sum = splat(0);
  int64_t j = begin;
  for (; j + Lanes::width <= end; j += Lanes::width) sum = sum + zero_below(load(weights_V + j), least);
  return reduce_add(sum + zero_below(load_first(weights_V + j, end - j), least));
}

// Of all weights that are at least `least`.
double total_weight(const Row& row, const float* weights_V, float least = 0) {
  double total = 0;
  for (int64_t begin = 0; begin < row.V; begin += block) total += block_weight(weights_V, begin, std::min(begin + block, row.V), least);
  return total;
}

void keep_top_k(const Row& row, int64_t k, Scored* ranked_K, float* weights_V) {
  select_top(row.logits_V, row.V, k, ranked_K);
  const Scored last = ranked_K[k - 1];
  for (int64_t j = 0; j < row.V; ++j) {
    if (ranks_before(last, {row.logits_V[j], static_cast<int32_t>(j)})) weights_V[j] = 0;
  }
}

// The largest weight such that all weights from it on add up to `reach`: a search over bit patterns, whose order is that of positive floats.
float nucleus_edge(const Row& row, const float* weights_V, double reach) {
  uint32_t enough = 0;
  uint32_t too_few = 0x3f800001;  // just above 1, the largest weight
  while (too_few - enough > 1) {
    const uint32_t middle = enough + (too_few - enough) / 2;
    (total_weight(row, weights_V, float_of_bits(middle)) >= reach ? enough : too_few) = middle;
  }
  return float_of_bits(enough);
}

void keep_top_p(const Row& row, float top_p, float* weights_V) {
  const double reach = top_p * total_weight(row, weights_V);
  const float edge = nucleus_edge(row, weights_V, reach);
  double kept = total_weight(row, weights_V, std::nextafter(edge, 2.0f));
  for (int64_t j = 0; j < row.V; ++j) {
    const bool is_kept = weights_V[j] > edge || (weights_V[j] == edge && kept < reach);
    if (weights_V[j] == edge) kept += edge;
    if (!is_kept) weights_V[j] = 0;
  }
}

// Finds the block in which the running weight passes the target, then the id in it. The block's terms, added one by one in float64, may fall a
// rounding short of its float32 sum; the last id with weight is drawn then.
int32_t draw_by_weight(const Row& row, const float* weights_V) {
  const double target = row.uniform * total_weight(row, weights_V);
  double running = 0;
  int64_t begin = 0;
  while (begin + block < row.V) {
    const double after = running + block_weight(weights_V, begin, begin + block, 0);
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

int32_t draw(const Row& row, const SampleInputs& in, int64_t b, float* weights_V, Scored* ranked_K) {
  if (in.temperature_B[b] == 0) return static_cast<int32_t>(row.best.id);
  weigh(row, in.temperature_B[b], weights_V);
  if (in.top_k_B[b] > 0 && in.top_k_B[b] < row.V) keep_top_k(row, in.top_k_B[b], ranked_K, weights_V);
  if (in.top_p_B[b] < 1) keep_top_p(row, in.top_p_B[b], weights_V);
  return draw_by_weight(row, weights_V);
}

double uniform_of(const SampleInputs& in, int64_t b) {
  const int32_t* key = in.keys_B2 + 2 * b;
  const int32_t* counter = in.counters_B4 + 4 * b;
  const auto word = [](int32_t bits) { return static_cast<uint32_t>(bits); };
  return philox_uniform({word(key[0]), word(key[1])}, {word(counter[0]), word(counter[1]), word(counter[2]), word(counter[3])});
}

// Scratch of one thread: weights, then the ranking that top k needs.
struct ScratchPlan {
  int64_t weights_bytes, bytes;
  ScratchPlan(const SampleShape& shape, const SampleInputs& in) {
    int64_t most = 0;
    for (int64_t b = 0; b < shape.B; ++b) most = std::max(most, std::min<int64_t>(in.top_k_B[b], shape.V));
    weights_bytes = round_to_lanes(shape.V) * sizeof(float);
    bytes = weights_bytes + round_to_lanes(most) * sizeof(Scored);
  }
};

}  // namespace

Status sample_token(const SampleShape& shape, const SampleInputs& in, const SampleOutputs& out) {
  LIMBECK_TRY(check_settings(shape, in));
  const ScratchPlan plan(shape, in);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * plan.bytes, &memory));
  parallel_for(shape.B, [&](int64_t b) {
    char* own = static_cast<char*>(memory) + omp_get_thread_num() * plan.bytes;
    float* weights_V = reinterpret_cast<float*>(own);
    const float* logits_V = in.logits_BV + b * shape.V;
    const Row row{logits_V, shape.V, row_best(logits_V, shape.V), uniform_of(in, b)};
    const double lse = std::log(exponentiate_row(logits_V, shape.V, row.best.value, weights_V).sum) + row.best.value;
    out.ids_B[b] = draw(row, in, b, weights_V, reinterpret_cast<Scored*>(own + plan.weights_bytes));
    out.log_probs_B[b] = static_cast<float>(logits_V[out.ids_B[b]] - lse);
  });
  return fine();
}

}  // namespace limbeck::cpu
