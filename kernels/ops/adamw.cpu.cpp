#include "ops/adamw.h"

#include <cmath>
#include "core/lanes.h"
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {

constexpr int64_t block = 1 << 14;
constexpr int64_t ahead = 512;  // elements: four streams at once are more than the CPU's own prefetchers follow

struct Factors {
  Lanes clip, beta1, beta2, one_less_beta1, one_less_beta2, step_size, root_scale, eps, keep;
};

Factors make_factors(const AdamwSettings& settings, float clip) {
  const auto lanes = [](double value) { return splat(static_cast<float>(value)); };
  const double step = static_cast<double>(settings.step);
  Factors factors;
  factors.clip = splat(clip);
  factors.beta1 = lanes(settings.beta1);
  factors.beta2 = lanes(settings.beta2);
  factors.one_less_beta1 = lanes(1 - settings.beta1);
  factors.one_less_beta2 = lanes(1 - settings.beta2);
  factors.step_size = lanes(settings.learning_rate / (1 - std::pow(settings.beta1, step)));
  factors.root_scale = lanes(1 / std::sqrt(1 - std::pow(settings.beta2, step)));
  factors.eps = lanes(settings.eps);
  factors.keep = lanes(1 - settings.learning_rate * settings.weight_decay);
  return factors;
}

// A weight is rounded as `convert` rounds it after a checkpoint is read.
void store_weight(bf16* to, int64_t count, Lanes master) {
  if (count == Lanes::width) return store_bf16_exactly(to, master);
  bf16 last[Lanes::width];
  store_bf16_exactly(last, master);
  std::memcpy(to, last, static_cast<size_t>(count) * sizeof(bf16));
}

void store_weight(float* to, int64_t count, Lanes master) { store_first(to, count, master); }

template <typename Weight>
class Update {
 public:
  Update(const AdamwSettings& settings, const AdamwState& state, Weight* weight)
      : f_(make_factors(settings, state.norm_clip_2[1])), state_(state), weight_(weight) {}

  // `count` elements from `i`, up to sixteen.
  void operator()(int64_t i, int64_t count) const {
    for (const float* stream : {state_.grad, state_.m, state_.v, state_.master}) _mm_prefetch(reinterpret_cast<const char*>(stream + i + ahead), _MM_HINT_T0);
    const Lanes g = load_first(state_.grad + i, count) * f_.clip;
    const Lanes m = multiply_add(load_first(state_.m + i, count), f_.beta1, g * f_.one_less_beta1);
    const Lanes v = multiply_add(load_first(state_.v + i, count), f_.beta2, g * g * f_.one_less_beta2);
    const Lanes move = f_.step_size * m / multiply_add(square_root(v), f_.root_scale, f_.eps);
    const Lanes master = load_first(state_.master + i, count) * f_.keep - move;
    store_first(state_.m + i, count, m);
    store_first(state_.v + i, count, v);
    store_first(state_.master + i, count, master);
    store_weight(weight_ + i, count, master);
    store_first(state_.grad + i, count, splat(0));
  }

 private:
  const Factors f_;
  const AdamwState state_;
  Weight* weight_;
};

template <typename Weight>
Status run(const AdamwSettings& settings, const AdamwState& state, Weight* weight) {
  const Update<Weight> update(settings, state, weight);
  parallel_blocks(state.elements, block, [&](int64_t begin, int64_t end) {
    for_lanes(end - begin, [&](int64_t i, int64_t count) { update(begin + i, count); });
  });
  return fine();
}

}  // namespace

Status adamw(const AdamwSettings& settings, const AdamwState& state, bf16* weight) { return run(settings, state, weight); }

Status adamw(const AdamwSettings& settings, const AdamwState& state, float* weight) { return run(settings, state, weight); }

}  // namespace limbeck::cpu
