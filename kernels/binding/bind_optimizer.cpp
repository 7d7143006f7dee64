// bind_optimizer.cpp -- clipping and the optimiser's step.
#include "binding/call.h"
#include "ops/adamw.h"
#include "ops/grad_norm.h"

namespace limbeck {
namespace {

Status grad_norm(Call& call) {
  const std::vector<AnyTensor> grads = call.tensors("grads", DType::f32);
  const double clip = call.number_from("clip", 0);
  float* out_2 = call.tensor<float>("out_2", "2");
  LIMBECK_TRY(call.check());
  if (clip == 0) return refuse(Code::bad_value, "clip is 0; it must be above 0");
  std::vector<Gradient> gradients;
  for (const AnyTensor& grad : grads) gradients.push_back({static_cast<const float*>(grad.data), grad.elements()});
  return cpu::grad_norm(gradients, static_cast<float>(clip), out_2);
}

AdamwSettings adamw_settings(Call& call) {
  AdamwSettings settings;
  settings.learning_rate = call.number_from("learningRate", 0);
  settings.beta1 = call.number_from("beta1", 0);
  settings.beta2 = call.number_from("beta2", 0);
  settings.eps = call.number_from("eps", 0);
  settings.weight_decay = call.number_from("weightDecay", 0);
  settings.step = call.integer("step", 1, int64_t{1} << 53);
  return settings;
}

Status adamw(Call& call) {
  const AnyTensor master = call.any_tensor("master");
  const AnyTensor m = call.any_tensor("m");
  const AnyTensor v = call.any_tensor("v");
  const AnyTensor grad = call.any_tensor("grad");
  const AnyTensor weight = call.any_tensor("weight");
  const float* norm_clip_2 = call.tensor<float>("normClip_2", "2");
  const AdamwSettings settings = adamw_settings(call);
  LIMBECK_TRY(call.check());
  for (const AnyTensor* tensor : {&master, &m, &v, &grad, &weight}) {
    const bool is_weight = tensor == &weight;
    if (tensor->elements() != master.elements()) return call.bad_shape("master, m, v, grad and weight must hold equally many elements");
    if (tensor->dtype == DType::f32 || (is_weight && tensor->dtype == DType::bf16)) continue;
    return refuse(Code::bad_dtype, is_weight ? "weight must be bf16 or f32" : "master, m, v and grad must be f32");
  }
  if (settings.beta1 >= 1 || settings.beta2 >= 1) return refuse(Code::bad_value, "beta1 and beta2 must lie in [0, 1)");
  const AdamwState state{master.elements(), static_cast<float*>(master.data), static_cast<float*>(m.data), static_cast<float*>(v.data),
                         static_cast<float*>(grad.data), norm_clip_2};
  if (weight.dtype == DType::bf16) return cpu::adamw(settings, state, static_cast<bf16*>(weight.data));
  return cpu::adamw(settings, state, static_cast<float*>(weight.data));
}

const Group group({{"gradNorm", 3, grad_norm}, {"adamw", 12, adamw}});

}  // namespace
}  // namespace limbeck
