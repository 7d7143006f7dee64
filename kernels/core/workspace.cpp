#include "core/workspace.h"

#include <cstdlib>
#include <memory>
#include "core/pages.h"

namespace limbeck {

namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> block;
size_t block_bytes = 0;

}  // namespace

Status workspace(size_t bytes, void** out) {
  if (bytes > block_bytes) {
    void* fresh = allocate_pages(bytes);
    if (!fresh) return refuse(Code::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes of workspace");
    block.reset(fresh);
    block_bytes = bytes;
  }
  *out = block.get();
  return fine();
}

}  // namespace limbeck
