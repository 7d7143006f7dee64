#include "core/gemm.h"

#include <cstring>
#include "core/amx_gemm.h"
#include "core/build_info.h"
#include "core/panel_gemm.h"

namespace limbeck {

namespace {

template <typename T>
void clear(const GemmShape& shape, T* c) {
  for (int64_t row = 0; row < shape.m; ++row) std::memset(c + row * shape.ldc, 0, static_cast<size_t>(shape.n) * sizeof(T));
}

// Settles the cases without arithmetic; answers whether this was one.
template <typename T>
bool settle_empty(const GemmShape& shape, T* c) {
  if (shape.m == 0 || shape.n == 0) return true;
  if (shape.k > 0) return false;
  if (!shape.accumulate) clear(shape, c);
  return true;
}

// Which of the two depends on the CPU's instructions alone: bits must not depend on the clock, nor on the shape.
template <typename T>
Status multiply(const GemmShape& shape, const bf16* a, const bf16* b, T* c) {
#ifdef __AVX512BF16__
  if (has_tile_products()) return amx::product(shape, a, b, c);
#endif
  return panel_gemm(shape, a, b, c);
}

template <typename T>
Status multiply(const GemmShape& shape, const bf16* a, const PackedTransposed& b, T* c) {
#ifdef __AVX512BF16__
  if (has_tile_products()) return amx::product(shape, a, amx::Packed{b.packed}, c);
#endif
  return panel_gemm(shape, a, PackedColumns{b.packed}, c);
}

}  // namespace

int64_t packed_elements(int64_t n, int64_t k) {
#ifdef __AVX512BF16__
  if (has_tile_products()) return amx::packed_elements(n, k);
#endif
  return packed_columns_elements(n, k);
}

void pack_transposed(const bf16* stored, int64_t ldb, int64_t n, int64_t k, bf16* packed) {
#ifdef __AVX512BF16__
  if (has_tile_products()) return amx::pack_whole(stored, ldb, n, k, packed);
#endif
  pack_columns(stored, ldb, n, k, packed);
}

int64_t packed_gates_elements([[maybe_unused]] int64_t n, [[maybe_unused]] int64_t k) {
#ifdef __AVX512BF16__
  if (has_tile_products()) return amx::packed_gates_elements(n, k);
#endif
  return 0;
}

void pack_gates([[maybe_unused]] const bf16* stored, [[maybe_unused]] int64_t ldb, [[maybe_unused]] int64_t n, [[maybe_unused]] int64_t k, [[maybe_unused]] bf16* packed) {
#ifdef __AVX512BF16__
  amx::pack_gates(stored, ldb, n, k, packed);
#endif
}

Status gated_gemm(const GemmShape& shape, [[maybe_unused]] const bf16* a, [[maybe_unused]] const bf16* packed, bf16* c) {
  if (settle_empty(shape, c)) return fine();
#ifdef __AVX512BF16__
  return amx::product(shape, a, amx::PackedGates{packed}, c);
#else
  return refuse(Code::unsupported, "this CPU has no products that end in the gated unit");
#endif
}

Status gemm(const GemmShape& shape, const bf16* a, const PackedTransposed& b, float* c) {
  if (settle_empty(shape, c)) return fine();
  return multiply(shape, a, b, c);
}

Status gemm(const GemmShape& shape, const bf16* a, const PackedTransposed& b, bf16* c) {
  if (settle_empty(shape, c)) return fine();
  return multiply(shape, a, b, c);
}

Status gemm(const GemmShape& shape, const bf16* a, const bf16* b, float* c) {
  if (settle_empty(shape, c)) return fine();
  return multiply(shape, a, b, c);
}

Status gemm(const GemmShape& shape, const bf16* a, const bf16* b, bf16* c) {
  if (shape.accumulate) return refuse(Code::unsupported, "gemm adds to float32 only");
  if (settle_empty(shape, c)) return fine();
  return multiply(shape, a, b, c);
}

}  // namespace limbeck
