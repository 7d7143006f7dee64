#include <immintrin.h>
#include <omp.h>
#include <algorithm>
#include <cstring>
#include "bench/probe.h"
#include "core/amx_config.h"

namespace limbeck::bench {
namespace {

constexpr int accumulators = 12;  // more than latency times throughput of a product on every CPU that has it

// Each loop answers the FLOPs it did. What it sums is kept, so that no compiler drops the loop.

__attribute__((target("avx2,fma"))) double fma_loop(int64_t rounds, float* kept) {
  __m256 sum[accumulators];
  for (int i = 0; i < accumulators; ++i) sum[i] = _mm256_set1_ps(static_cast<float>(i));  // alike, a compiler would compute only one of them
  const __m256 x = _mm256_set1_ps(1e-9f);
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < accumulators; ++i) sum[i] = _mm256_fmadd_ps(x, x, sum[i]);
  }
  __m256 total = sum[0];
  for (int i = 1; i < accumulators; ++i) total = _mm256_add_ps(total, sum[i]);
  *kept = _mm256_cvtss_f32(total);
  return 16.0 * accumulators * static_cast<double>(rounds);
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) double avx512_loop(int64_t rounds, float* kept) {
  __m512 sum[accumulators];
  for (int i = 0; i < accumulators; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-9f), _mm512_set1_ps(1e-9f));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < accumulators; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], x, x);
  }
  __m512 total = sum[0];
  for (int i = 1; i < accumulators; ++i) total = _mm512_add_ps(total, sum[i]);
  *kept = _mm512_cvtss_f32(total);
  return 64.0 * accumulators * static_cast<double>(rounds);
}

// Two by two tiles of sums, the shape of a product's inner loop.
__attribute__((target("amx-tile,amx-bf16"))) double amx_loop(int64_t rounds, float* kept) {
  static constexpr amx::TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float tile[256];
  _tile_stored(0, tile, 64);
  _tile_release();
  *kept = tile[0];
  return 4 * 16384.0 * static_cast<double>(rounds);
}

bool may_use_tiles() { return __builtin_cpu_supports("amx-bf16") && amx::may_use_tiles(); }

struct Peak {
  const char* instructions;
  double (*loop)(int64_t rounds, float* kept);
};

const Peak& widest() {
  static const Peak peak = may_use_tiles()                             ? Peak{"amx_bf16", amx_loop}
                           : __builtin_cpu_supports("avx512bf16")      ? Peak{"avx512_bf16", avx512_loop}
                                                                       : Peak{"avx2_fma", fma_loop};
  return peak;
}

double flops_per_second(int64_t rounds) {
  double flops = 0;
  const double begin = omp_get_wtime();
#pragma omp parallel
  {
    volatile float sink;
    float kept;
    const double own = widest().loop(rounds, &kept);
    sink = kept;
    (void)sink;
#pragma omp single
    flops = own * omp_get_num_threads();
  }
  return flops / (omp_get_wtime() - begin);
}

}  // namespace

const char* peak_instructions() { return widest().instructions; }

double register_peak() {
  constexpr int64_t rounds = 2'000'000;
  constexpr int repeats = 7;
  double best = 0;
  for (int repeat = 0; repeat < repeats; ++repeat) best = std::max(best, flops_per_second(rounds));
  return best;
}

}  // namespace limbeck::bench
