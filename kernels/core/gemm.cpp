#include "core/gemm.h"

#include <dnnl.hpp>
#include <cstring>
#include <list>
#include <map>
#include <string>
#include <tuple>
#include "core/build_info.h"
#include "core/panel_gemm.h"
#include "core/parallel.h"
#include "core/widened_gemm.h"

namespace limbeck {

namespace {

enum class OutputType { f32, bf16 };

dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& cpu_stream() {
  static dnnl::stream stream(cpu_engine());
  return stream;
}

struct StoredMatrix {
  int64_t rows, columns, leading;
  Layout layout;
};

dnnl::memory::desc describe(const StoredMatrix& matrix, dnnl::memory::data_type type) {
  const bool plain = matrix.layout == Layout::normal;
  return {{matrix.rows, matrix.columns}, type, {plain ? matrix.leading : 1, plain ? 1 : matrix.leading}};
}

struct Product {
  dnnl::memory::desc a, b, c;
  dnnl::matmul primitive;
};

Product make_product(const GemmShape& shape, OutputType output) {
  using type = dnnl::memory::data_type;
  Product product;
  product.a = describe({shape.m, shape.k, shape.lda, shape.a}, type::bf16);
  product.b = describe({shape.k, shape.n, shape.ldb, shape.b}, type::bf16);
  product.c = describe({shape.m, shape.n, shape.ldc, Layout::normal}, output == OutputType::f32 ? type::f32 : type::bf16);
  dnnl::primitive_attr attributes;
  if (shape.accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  product.primitive = dnnl::matmul(dnnl::matmul::primitive_desc(cpu_engine(), product.a, product.b, product.c, attributes));
#else
  product.primitive = dnnl::matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(product.a, product.b, product.c), attributes, cpu_engine()));
#endif
  return product;
}

// The products used last, each compiled for one shape and thread count. Compiling takes milliseconds; a training step needs a few dozen.
class ProductCache {
 public:
  const Product& get(const GemmShape& shape, OutputType output) {
    const Key key{shape.m, shape.n, shape.k, shape.lda, shape.ldb, shape.ldc, shape.a, shape.b, shape.accumulate, output, thread_count()};
    const auto found = index_.find(key);
    if (found != index_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
    order_.emplace_front(key, make_product(shape, output));
    index_[key] = order_.begin();
    if (order_.size() > capacity) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return order_.front().second;
  }

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, Layout, Layout, bool, OutputType, int>;
  using Entry = std::pair<Key, Product>;
  static constexpr size_t capacity = 512;
  std::list<Entry> order_;  // used last first
  std::map<Key, std::list<Entry>::iterator> index_;
};

struct Operands {
  const bf16* a;
  const bf16* b;
  void* c;
};

Status bf16_gemm(const GemmShape& shape, OutputType output, const Operands& operands) {
  static ProductCache cache;
  try {
    const Product& product = cache.get(shape, output);
    dnnl::memory a_memory(product.a, cpu_engine(), const_cast<bf16*>(operands.a));
    dnnl::memory b_memory(product.b, cpu_engine(), const_cast<bf16*>(operands.b));
    dnnl::memory c_memory(product.c, cpu_engine(), operands.c);
    product.primitive.execute(cpu_stream(), {{DNNL_ARG_SRC, a_memory}, {DNNL_ARG_WEIGHTS, b_memory}, {DNNL_ARG_DST, c_memory}});
    cpu_stream().wait();
    return fine();
  } catch (const dnnl::error& error) {
    return refuse(error.status == dnnl_out_of_memory ? Code::out_of_memory : Code::unsupported, std::string("oneDNN: ") + error.what());
  }
}

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

enum class Way { panels, onednn, widened };

// Depends on the shape and the CPU's instructions alone: bits must not depend on the clock. Tile units multiply several times faster than vectors once
// there are rows enough to fill a tile.
Way way_for([[maybe_unused]] const GemmShape& shape) {
#ifdef __AVX512BF16__
  constexpr int64_t rows_a_tile = 16;
  if (rows_keep_bits() || (has_bf16_products() && shape.m < rows_a_tile)) return Way::panels;
#endif
  return has_bf16_products() ? Way::onednn : Way::widened;
}

template <typename T>
Status multiply(const GemmShape& shape, const bf16* a, const bf16* b, T* c) {
  switch (way_for(shape)) {
    case Way::panels: return panel_gemm(shape, a, b, c);
    case Way::onednn: return bf16_gemm(shape, sizeof(T) == sizeof(float) ? OutputType::f32 : OutputType::bf16, {a, b, c});
    default: return widened_gemm(shape, a, b, c);
  }
}

template <typename T>
Status multiply(const GemmShape& shape, const bf16* a, const PackedTransposed& b, T* c) {
#ifdef __AVX512BF16__
  if (way_for(shape) == Way::panels) return panel_gemm(shape, a, PackedColumns{b.packed}, c);
#endif
  return multiply(shape, a, b.stored, c);
}

}  // namespace

bool rows_keep_bits() {
#ifdef __AVX512BF16__
  return has_bf16_products() && !has_tile_products();
#else
  return false;
#endif
}

int64_t packed_elements([[maybe_unused]] int64_t n, [[maybe_unused]] int64_t k) {
#ifdef __AVX512BF16__
  if (has_bf16_products()) return packed_columns_elements(n, k);
#endif
  return 0;
}

void pack_transposed([[maybe_unused]] const bf16* stored, [[maybe_unused]] int64_t ldb, [[maybe_unused]] int64_t n, [[maybe_unused]] int64_t k, [[maybe_unused]] bf16* packed) {
#ifdef __AVX512BF16__
  if (has_bf16_products()) pack_columns(stored, ldb, n, k, packed);
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
