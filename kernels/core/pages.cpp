#include "core/pages.h"

#include <sys/mman.h>
#include <cstdlib>

namespace limbeck {

namespace {
constexpr size_t cache_line = 64;
constexpr size_t large_page = size_t{2} << 20;
}  // namespace

void* allocate_pages(size_t bytes) {
  const size_t alignment = bytes >= large_page ? large_page : cache_line;
  void* memory = std::aligned_alloc(alignment, (bytes + cache_line - 1) / cache_line * cache_line);
  if (memory && alignment == large_page) madvise(memory, bytes / large_page * large_page, MADV_HUGEPAGE);  // a refusal costs speed alone
  return memory;
}

}  // namespace limbeck
