#include "core/workspace.h"

#include <cstdlib>
#include <memory>

namespace limbeck {

namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> block;
size_t block_bytes = 0;

}  // namespace

Status workspace(size_t bytes, void** out) {
  constexpr size_t alignment = 64;
  if (bytes > block_bytes) {
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* fresh = std::aligned_alloc(alignment, rounded);
    if (!fresh) return refuse(Code::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes of workspace");
    block.reset(fresh);
    block_bytes = rounded;
  }
  *out = block.get();
  return fine();
}

}  // namespace limbeck
