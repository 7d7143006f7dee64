// probe.h -- the machine's own limits, measured beside the engine's figures: what its registers, its memory and oneDNN can do. For the benchmark alone;
//   no product code links it. Every probe runs on omp_get_max_threads() threads, which is what `Kernels.setThreads` sets.
#pragma once
#include <cstdint>

namespace limbeck::bench {

// Shape of C[m,n] (+)= A[m,k] B[k,n]; an operand marked transposed is stored as its transpose, as core/gemm.h has it.
struct ProductShape {
  int64_t m, n, k;
  bool a_transposed, b_transposed;
  bool f32_output;  // else bf16
  bool accumulate;  // f32 output only
  bool packed;      // B lies as oneDNN likes it best, reordered ahead of the measured calls
};

int64_t create_product(const ProductShape&);  // operands of random numbers in [-1, 1); throws what oneDNN throws
double run_product(int64_t product);          // seconds of one call
void free_product(int64_t product);

const char* peak_instructions();  // "amx_bf16", "avx512_bf16" or "avx2_fma": the widest products of this CPU
double register_peak();           // FLOP/s of those instructions with every operand in registers, best of several runs

// Bytes/s, best of `repeats` passes over buffers of `bytes` each; all of a probe's should exceed the last cache several times.
double memory_read(int64_t bytes, int64_t repeats);
double memory_mixed(int64_t bytes, int64_t repeats);  // two streams read, one written: in place or past the caches, whichever is faster

}  // namespace limbeck::bench
