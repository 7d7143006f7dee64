#include <immintrin.h>
#include <omp.h>
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

// Written by the threads that will read it, so that pages lie where they are used.
Buffer touched(int64_t count) {
  Buffer buffer(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(count) * sizeof(float))));
  if (!buffer) throw std::bad_alloc();
  seconds([&] {
    const Range part = own_part(count);
    std::fill(buffer.get() + part.begin, buffer.get() + part.end, 1.0f);
  });
  return buffer;
}

// Asks for lines 2 KiB ahead: what the CPU fetches by itself fell short of half the bandwidth where this was tried.
uint64_t sum_words(const float* from, Range part) {
  constexpr int64_t ahead = 512;
  __m256i sum[2] = {};
  for (int64_t i = part.begin; i < part.end; i += 16) {
    _mm_prefetch(from + i + ahead, _MM_HINT_T0);
    sum[0] = _mm256_add_epi64(sum[0], _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i)));
    sum[1] = _mm256_add_epi64(sum[1], _mm256_load_si256(reinterpret_cast<const __m256i*>(from + i + 8)));
  }
  return static_cast<uint64_t>(_mm256_extract_epi64(_mm256_add_epi64(sum[0], sum[1]), 0));
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
