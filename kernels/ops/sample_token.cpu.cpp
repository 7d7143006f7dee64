#include "ops/sample_token.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
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

float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Bounded so that 0 times it stays 0.
float bounded_inverse(float temperature) { return std::min(1.0f / temperature, 1e30f); }

// The weights of one row, and the operations that thin them out and draw.
class Weights {
 public:
  // `scratch` holds weights_bytes.
  Weights(const float* logits_V, int64_t V, float* scratch)
      : logits_V_(logits_V), V_(V), weights_V_(scratch), block_sums_(scratch + round_to_lanes(V)), largest_(row_largest(logits_V, V)) {}

  int64_t best() const { return row_best(logits_V_, V_).id; }

  double log_sum_exp() { return std::log(exponentiate_row(logits_V_, V_, largest_, weights_V_, block_sums_).sum) + largest_; }

  // At temperature 1 the weights are those of log_sum_exp.
  void temper(float temperature) {
    if (temperature == 1) return;
    const float inverse = bounded_inverse(temperature);
    for (int64_t j = 0; j < V_; ++j) weights_V_[j] = (logits_V_[j] - largest_) * inverse;
    exponentiate_row(weights_V_, V_, 0, weights_V_, block_sums_);
  }

  void keep_top_p(float top_p) {
    const double reach = top_p * total(0);
    const float edge = nucleus_edge(reach);
    double kept = total(std::nextafter(edge, 2.0f));
    for (int64_t j = 0; j < V_; ++j) {
      const bool is_kept = weights_V_[j] > edge || (weights_V_[j] == edge && kept < reach);
      if (weights_V_[j] == edge) kept += edge;
      if (!is_kept) weights_V_[j] = 0;
    }
    for (int64_t begin = 0; begin < V_; begin += row_block) block_sums_[begin / row_block] = block_sum(begin, 0);
  }

  // Finds the block in which the running weight passes the target, then the id in it. The block's terms, added one by one in float64, may fall a
  // rounding short of its float32 sum; the last id with weight is drawn then, and where none has any, for logits are no numbers, the best.
  int32_t draw(double uniform) const {
    const double target = uniform * std::accumulate(block_sums_, block_sums_ + (V_ + row_block - 1) / row_block, 0.0);
    double running = 0;
    int64_t begin = 0;
    while (begin + row_block < V_) {
      const double after = running + block_sums_[begin / row_block];
      if (after > target) break;
      running = after;
      begin += row_block;
    }
    int64_t last = -1;
    for (int64_t j = begin; j < std::min(begin + row_block, V_); ++j) {
      running += weights_V_[j];
      if (weights_V_[j] > 0) last = j;
      if (running > target) break;
    }
    return static_cast<int32_t>(last >= 0 ? last : best());
  }

 private:
  // Sums of float32 lanes within a block, of float64 between blocks, over the weights that are at least `least`. Adding a weight never lowers such a
  // sum, which the search below needs.
  float block_sum(int64_t begin, float least) const {
    Lanes sum = splat(0);
    for_lanes(std::min(row_block, V_ - begin), [&](int64_t j, int64_t count) { sum = sum + zero_below(load_first(weights_V_ + begin + j, count), least); });
    return reduce_add(sum);
  }

  double total(float least) const {
    double sum = 0;
    for (int64_t begin = 0; begin < V_; begin += row_block) sum += block_sum(begin, least);
    return sum;
  }

  // The largest weight such that all weights from it on add up to `reach`: a search over bit patterns, whose order is that of positive floats.
  float nucleus_edge(double reach) const {
    uint32_t enough = 0;
    uint32_t too_few = 0x3f800001;  // just above 1, the largest weight
    while (too_few - enough > 1) {
      const uint32_t middle = enough + (too_few - enough) / 2;
      (total(float_of_bits(middle)) >= reach ? enough : too_few) = middle;
    }
    return float_of_bits(enough);
  }

  const float* logits_V_;
  const int64_t V_;
  float* weights_V_;
  float* block_sums_;  // of the weights
  const float largest_;
};

struct Cut {
  float temperature, top_p;
};

// Draws among the k best of a row, which are few: weights are made, cut and added for them alone. `ranked_K` holds them best first and is reordered.
int32_t draw_ranked(Scored* ranked_K, int64_t k, const Cut& cut, double uniform) {
  const float best = ranked_K[0].value;
  double total = 0;
  for (int64_t i = 0; i < k; ++i) {
    ranked_K[i].value = static_cast<float>(std::exp(static_cast<double>((ranked_K[i].value - best) * bounded_inverse(cut.temperature))));
    total += ranked_K[i].value;
  }
  double kept = total;
  if (cut.top_p < 1) {
    const double reach = cut.top_p * total;
    kept = 0;
    int64_t count = 0;
    while (count < k && kept < reach) kept += ranked_K[count++].value;
    k = count;
  }
  std::sort(ranked_K, ranked_K + k, [](const Scored& a, const Scored& b) { return a.id < b.id; });
  const double target = uniform * kept;
  double running = 0;
  int32_t last = ranked_K[0].id;
  for (int64_t i = 0; i < k; ++i) {
    running += ranked_K[i].value;
    if (ranked_K[i].value > 0) last = ranked_K[i].id;
    if (running > target) break;
  }
  return last;
}

double uniform_of(const SampleInputs& in, int64_t b) {
  const int32_t* key = in.keys_B2 + 2 * b;
  const int32_t* counter = in.counters_B4 + 4 * b;
  const auto word = [](int32_t bits) { return static_cast<uint32_t>(bits); };
  return philox_uniform({word(key[0]), word(key[1])}, {word(counter[0]), word(counter[1]), word(counter[2]), word(counter[3])});
}

// Scratch of one thread: weights and their blocks' sums, then the ranking that top k needs.
struct ScratchPlan {
  int64_t weights_bytes, bytes;
  ScratchPlan(const SampleShape& shape, const SampleInputs& in) {
    int64_t most = 0;
    for (int64_t b = 0; b < shape.B; ++b) most = std::max(most, std::min<int64_t>(in.top_k_B[b], shape.V));
    weights_bytes = (round_to_lanes(shape.V) + round_to_lanes((shape.V + row_block - 1) / row_block)) * sizeof(float);
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
    const float* logits_V = in.logits_BV + b * shape.V;
    Weights weights(logits_V, shape.V, reinterpret_cast<float*>(own));
    const double lse = weights.log_sum_exp();
    int64_t id = -1;
    const int64_t k = in.top_k_B[b];
    if (in.temperature_B[b] > 0 && k > 0 && k < shape.V) {
      Scored* ranked_K = reinterpret_cast<Scored*>(own + plan.weights_bytes);
      select_top(logits_V, shape.V, k, ranked_K);
      id = draw_ranked(ranked_K, k, {in.temperature_B[b], in.top_p_B[b]}, uniform_of(in, b));
    } else if (in.temperature_B[b] > 0) {
      weights.temper(in.temperature_B[b]);
      if (in.top_p_B[b] < 1) weights.keep_top_p(in.top_p_B[b]);
      id = weights.draw(uniform_of(in, b));
    } else {
      id = weights.best();
    }
    out.ids_B[b] = static_cast<int32_t>(id);
    out.log_probs_B[b] = static_cast<float>(logits_V[id] - lse);
  });
  return fine();
}

}  // namespace limbeck::cpu
