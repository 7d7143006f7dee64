#include "core/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>
#include "core/pages.h"
#include "core/rehearsal.h"

namespace limbeck {

namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

std::unique_ptr<void, Free> block;
size_t block_bytes = 0;
size_t rehearsed_bytes = 0;

constexpr size_t alignment = 64;

size_t rounded(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }

}  // namespace

Status workspace(size_t bytes, void** out) {
  if (rehearsing) {
    rehearsed_bytes = std::max(rehearsed_bytes, rounded(bytes));
    return refuse(Code::rehearsed, "");
  }
  if (bytes > block_bytes) {
    void* fresh = allocate_pages(bytes);
    if (!fresh) return refuse(Code::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes of workspace");
    block.reset(fresh);
    block_bytes = rounded(bytes);
  }
  *out = block.get();
  return fine();
}

int64_t workspace_bytes() { return static_cast<int64_t>(block_bytes); }

int64_t take_rehearsed_workspace() { return static_cast<int64_t>(std::exchange(rehearsed_bytes, 0)); }

}  // namespace limbeck
