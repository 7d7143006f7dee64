// parallel.h -- the only door to threads. Work is cut by index, never by arrival, so that results depend on the plan alone.
#pragma once
#include <omp.h>
#include <cstdint>
#include "core/rehearsal.h"

namespace limbeck {

inline int& thread_count() {
  static int threads = omp_get_max_threads();
  return threads;
}

// For parallel_for and for oneDNN, whose threads are those of OpenMP on the calling thread.
inline void set_thread_count(int threads) {
  thread_count() = threads;
  omp_set_num_threads(threads);
}

// Which of the threads runs this: 0 to thread_count() - 1, inside parallel_for.
inline int thread_index() { return omp_get_thread_num(); }

// Calls body(index) once for every index in [0, count), each on one thread. Bodies must write disjoint memory; sums across indices belong in a
// buffer of one slot an index, added afterwards in index order. `dynamic` schedules uneven bodies as threads come free, which cannot change results.
// Bodies must not throw (allocate outside) and must not call gemm. In a rehearsal nothing runs.
template <typename Body>
void parallel_for(int64_t count, const Body& body) {
  if (rehearsing) return;
  if (count <= 1 || thread_count() == 1) {
    for (int64_t index = 0; index < count; ++index) body(index);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(thread_count())
  for (int64_t index = 0; index < count; ++index) body(index);
}

// Cuts [0, count) into blocks of `block` (the last may be short) and calls body(begin, end) once a block.
template <typename Body>
void parallel_blocks(int64_t count, int64_t block, const Body& body) {
  const int64_t blocks = (count + block - 1) / block;
  parallel_for(blocks, [&](int64_t index) {
    const int64_t begin = index * block;
    const int64_t end = begin + block < count ? begin + block : count;
    body(begin, end);
  });
}

}  // namespace limbeck
