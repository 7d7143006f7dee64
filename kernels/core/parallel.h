// parallel.h -- the only door to threads. Work is cut by index, never by arrival, so that results depend on the plan alone.
#pragma once
#include <omp.h>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include "core/rehearsal.h"

namespace limbeck {

inline int& thread_count() {
  static int threads = omp_get_max_threads();
  return threads;
}

// For parallel_for, and for the benchmark's probes, whose threads are those of OpenMP on the calling thread.
inline void set_thread_count(int threads) {
  thread_count() = threads;
  omp_set_num_threads(threads);
}

// Which of the threads runs this: 0 to thread_count() - 1, inside parallel_for.
inline int thread_index() { return omp_get_thread_num(); }

// Indices that one thread comes for first, and others when they have no more of their own.
class alignas(64) IndexQueue {
 public:
  void fill(int64_t begin, int64_t end) {
    next_.store(begin, std::memory_order_relaxed);
    end_ = end;
  }
  // -1 when there are no more.
  int64_t take() {
    if (next_.load(std::memory_order_relaxed) >= end_) return -1;
    const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    return index < end_ ? index : -1;
  }

 private:
  std::atomic<int64_t> next_;
  int64_t end_;
};

constexpr int most_threads = 256;  // of one call; indices are rarely more
inline int threads_of_a_call() { return std::min(thread_count(), most_threads); }

// Thread number `thread` begins with the indices from here to where the next one begins.
inline int64_t share_begin(int64_t count, int thread, int threads) { return count * thread / threads; }

// Whether another thread begins with the next index, or there is none.
inline bool ends_share(int64_t index, int64_t count) {
  const int threads = threads_of_a_call();
  for (int thread = 1; thread <= threads; ++thread) {
    if (share_begin(count, thread, threads) == index + 1) return true;
  }
  return false;
}

// Calls body(state, index) once for every index in [0, count), each on one thread; `state` is what begin() made on that thread, once for all its indices of the
// call. Bodies must write disjoint memory; sums across indices belong in a buffer of one slot an index, added afterwards in index order. A thread begins with its
// own share of the indices, the same in every call, so that it finds in its caches what it left there a call before; then it helps the others, which cannot change
// results.
// Bodies must not throw (allocate outside) and must not call gemm. In a rehearsal nothing runs.
template <typename Begin, typename Body>
void parallel_for(int64_t count, const Begin& begin, const Body& body) {
  if (rehearsing || count <= 0) return;
  const int threads = threads_of_a_call();
  if (count == 1 || threads == 1) {
    auto state = begin();
    for (int64_t index = 0; index < count; ++index) body(state, index);
    return;
  }
  IndexQueue queues[most_threads];
  for (int thread = 0; thread < threads; ++thread) queues[thread].fill(share_begin(count, thread, threads), share_begin(count, thread + 1, threads));
#pragma omp parallel num_threads(threads)
  {
    auto state = begin();
    for (int turn = 0; turn < threads; ++turn) {
      IndexQueue& queue = queues[(thread_index() + turn) % threads];
      for (int64_t index = queue.take(); index >= 0; index = queue.take()) body(state, index);
    }
  }
}

// The same without a state: body(index).
template <typename Body>
void parallel_for(int64_t count, const Body& body) {
  struct None {};
  parallel_for(count, [] { return None{}; }, [&](None&, int64_t index) { body(index); });
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
