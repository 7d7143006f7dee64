#include <immintrin.h>
#include <omp.h>
#include <sys/mman.h>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include "bench/probe.h"

namespace limbeck::bench {
namespace {

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<float, Free>;

struct Range {
  int64_t begin, end;
};

// This thread's part of `count` elements, in whole cache lines.
Range own_part(int64_t count) {
  const int64_t lines = count / 16;
  const int64_t threads = omp_get_num_threads();
  const int64_t thread = omp_get_thread_num();
  return {lines * thread / threads * 16, lines * (thread + 1) / threads * 16};
}

template <typename Body>
double seconds(const Body& body) {
  const double begin = omp_get_wtime();
#pragma omp parallel
  body();
  return omp_get_wtime() - begin;
}

// Written by the threads that will read it, so that pages lie where they are used; large pages, where Linux grants them: with small ones the search for
// pages took up to half of the bandwidth where this was tried.
Buffer touched(int64_t count) {
  constexpr size_t large_page = size_t{2} << 20;
  const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + large_page - 1) / large_page * large_page;
  Buffer buffer(static_cast<float*>(std::aligned_alloc(large_page, bytes)));
  if (!buffer) throw std::bad_alloc();
  madvise(buffer.get(), bytes, MADV_HUGEPAGE);
  seconds([&] {
    const Range part = own_part(count);
    std::fill(buffer.get() + part.begin, buffer.get() + part.end, 1.0f);
  });
  return buffer;
}

// Four streams a thread: one alone does not keep enough lines on their way.
uint64_t sum_words(const float* from, Range part) {
  constexpr int streams = 4;
  const int64_t length = (part.end - part.begin) / (16 * streams) * 16;
  __m256i sum[streams] = {};
  for (int64_t i = part.begin; i < part.begin + length; i += 16) {
#pragma GCC unroll 4
    for (int s = 0; s < streams; ++s) {
      const __m256i* line = reinterpret_cast<const __m256i*>(from + s * length + i);
      sum[s] = _mm256_add_epi64(sum[s], _mm256_add_epi64(_mm256_load_si256(line), _mm256_load_si256(line + 1)));
    }
  }
  const __m256i total = _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(total, 0));
}

void add_in_place(float* a, const float* b, Range part) {
  for (int64_t i = part.begin; i < part.end; ++i) a[i] = a[i] * 0.5f + b[i];
}

void add_streaming(float* c, const float* a, const float* b, Range part) {
  for (int64_t i = part.begin; i < part.end; i += 8) _mm256_stream_ps(c + i, _mm256_add_ps(_mm256_load_ps(a + i), _mm256_load_ps(b + i)));
  _mm_sfence();
}

int64_t whole_lines(int64_t bytes) { return bytes / 64 * 16; }

}  // namespace

double memory_read(int64_t bytes, int64_t repeats) {
  const int64_t count = whole_lines(bytes);
  const Buffer buffer = touched(count);
  volatile uint64_t kept = 0;
  double best = 1e30;
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    best = std::min(best, seconds([&] { kept = sum_words(buffer.get(), own_part(count)); }));
  }
  return static_cast<double>(count) * sizeof(float) / best;
}

double memory_mixed(int64_t bytes, int64_t repeats) {
  const int64_t count = whole_lines(bytes);
  const Buffer a = touched(count);
  const Buffer b = touched(count);
  const Buffer c = touched(count);
  double best = 1e30;
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    best = std::min(best, seconds([&] { add_in_place(a.get(), b.get(), own_part(count)); }));
    best = std::min(best, seconds([&] { add_streaming(c.get(), a.get(), b.get(), own_part(count)); }));
  }
  return 3.0 * static_cast<double>(count) * sizeof(float) / best;
}

}  // namespace limbeck::bench
