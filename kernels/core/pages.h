// pages.h -- memory for tensors and scratch: large blocks stand on large pages, where the system has them, so that a pass over them neither waits for
//   address translation nor stops its prefetchers every 4 KiB.
#pragma once
#include <cstddef>

namespace limbeck {

// At least `bytes` bytes (> 0), 64-byte aligned, to be freed by std::free; null when there are none. The content is undefined.
void* allocate_pages(size_t bytes);

}  // namespace limbeck
