// elementwise.h -- plain passes over memory. Results do not depend on the number of threads.
#pragma once
#include <cstdint>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck::cpu {

Status zero(int64_t bytes, void* data);                               // all bytes 0
Status copy(int64_t bytes, const void* source, void* target);         // either the same memory or apart
Status round_to_bf16(int64_t count, const float* source, bf16* target);  // to nearest, ties to even; NaN stays NaN; apart
Status widen_to_f32(int64_t count, const bf16* source, float* target);   // exact; apart

}  // namespace limbeck::cpu
