#include "ops/elementwise.h"

#include <cstring>
#include "core/parallel.h"

namespace limbeck::cpu {

namespace {
constexpr int64_t block = 1 << 16;  // large enough that handing out a block costs nothing beside it
}

Status zero(int64_t bytes, void* data) {
  char* target = static_cast<char*>(data);
  parallel_blocks(bytes, block, [&](int64_t begin, int64_t end) { std::memset(target + begin, 0, static_cast<size_t>(end - begin)); });
  return fine();
}

Status copy(int64_t bytes, const void* source, void* target) {
  const char* from = static_cast<const char*>(source);
  char* to = static_cast<char*>(target);
  if (from == to) return fine();
  parallel_blocks(bytes, block, [&](int64_t begin, int64_t end) { std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin)); });
  return fine();
}

Status round_to_bf16(int64_t count, const float* source, bf16* target) {
  parallel_blocks(count, block, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) target[i] = to_bf16(source[i]);
  });
  return fine();
}

Status widen_to_f32(int64_t count, const bf16* source, float* target) {
  parallel_blocks(count, block, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) target[i] = to_float(source[i]);
  });
  return fine();
}

}  // namespace limbeck::cpu
