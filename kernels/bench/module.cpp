// module.cpp -- the probes as functions of numbers, as kernels/bench/probes.ts declares them.
#include <node_api.h>
#include <array>
#include <exception>
#include "bench/probe.h"

namespace limbeck::bench {
namespace {

constexpr size_t most_arguments = 8;
using Arguments = std::array<double, most_arguments>;  // those that are absent are 0

struct Probe {
  const char* name;
  double (*run)(const Arguments&);
};

double make(const Arguments& x) {
  const auto size = [&](int i) { return static_cast<int64_t>(x[i]); };
  const ProductShape shape{size(0), size(1), size(2), x[3] != 0, x[4] != 0, x[5] != 0, x[6] != 0, x[7] != 0};
  return static_cast<double>(create_product(shape));
}

const Probe probes[] = {
    {"createProduct", make},
    {"runProduct", [](const Arguments& x) { return run_product(static_cast<int64_t>(x[0])); }},
    {"freeProduct", [](const Arguments& x) { return free_product(static_cast<int64_t>(x[0])), 0.0; }},
    {"registerPeak", [](const Arguments&) { return register_peak(); }},
    {"memoryRead", [](const Arguments& x) { return memory_read(static_cast<int64_t>(x[0]), static_cast<int64_t>(x[1])); }},
    {"memoryMixed", [](const Arguments& x) { return memory_mixed(static_cast<int64_t>(x[0]), static_cast<int64_t>(x[1])); }},
};

napi_value invoke(napi_env env, napi_callback_info info) {
  napi_value values[most_arguments];
  size_t count = most_arguments;
  void* probe = nullptr;
  napi_get_cb_info(env, info, &count, values, nullptr, &probe);
  Arguments arguments{};
  for (size_t i = 0; i < count && i < most_arguments; ++i) napi_get_value_double(env, values[i], &arguments[i]);
  napi_value result = nullptr;
  try {
    napi_create_double(env, static_cast<const Probe*>(probe)->run(arguments), &result);
  } catch (const std::exception& error) {
    napi_throw_error(env, "bench.probe_failed", error.what());
  }
  return result;
}

}  // namespace
}  // namespace limbeck::bench

NAPI_MODULE_INIT() {
  using namespace limbeck::bench;
  for (const Probe& probe : probes) {
    napi_value function;
    napi_create_function(env, probe.name, NAPI_AUTO_LENGTH, invoke, const_cast<Probe*>(&probe), &function);
    napi_set_named_property(env, exports, probe.name, function);
  }
  napi_value instructions;
  napi_create_string_utf8(env, peak_instructions(), NAPI_AUTO_LENGTH, &instructions);
  napi_set_named_property(env, exports, "peakInstructions", instructions);
  return exports;
}
