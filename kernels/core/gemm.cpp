#include "core/gemm.h"

#include <dnnl.hpp>
#include <algorithm>
#include <cstring>
#include <list>
#include <map>
#include <string>
#include <tuple>
#include <vector>
#include "core/build_info.h"
#include "core/parallel.h"

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

dnnl::memory::desc stored(int64_t rows, int64_t columns, int64_t leading, Layout layout, dnnl::memory::data_type type) {
  const bool plain = layout == Layout::normal;
  return {{rows, columns}, type, {plain ? leading : 1, plain ? 1 : leading}};
}

struct Product {
  dnnl::memory::desc a, b, c;
  dnnl::matmul primitive;
};

Product make_product(const GemmShape& shape, OutputType output) {
  using type = dnnl::memory::data_type;
  Product product;
  product.a = stored(shape.m, shape.k, shape.lda, shape.a, type::bf16);
  product.b = stored(shape.k, shape.n, shape.ldb, shape.b, type::bf16);
  product.c = stored(shape.m, shape.n, shape.ldc, Layout::normal, output == OutputType::f32 ? type::f32 : type::bf16);
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

Status run_bf16(const GemmShape& shape, OutputType output, const bf16* a, const bf16* b, void* c) {
  static ProductCache cache;
  try {
    const Product& product = cache.get(shape, output);
    dnnl::memory a_memory(product.a, cpu_engine(), const_cast<bf16*>(a));
    dnnl::memory b_memory(product.b, cpu_engine(), const_cast<bf16*>(b));
    dnnl::memory c_memory(product.c, cpu_engine(), c);
    product.primitive.execute(cpu_stream(), {{DNNL_ARG_SRC, a_memory}, {DNNL_ARG_WEIGHTS, b_memory}, {DNNL_ARG_DST, c_memory}});
    cpu_stream().wait();
    return fine();
  } catch (const dnnl::error& error) {
    return refuse(error.status == dnnl_out_of_memory ? Code::out_of_memory : Code::unsupported, std::string("oneDNN: ") + error.what());
  }
}

// --- the same product in float32 for hosts without bf16 instructions, by blocks so that the widened copies stay small ---

constexpr int64_t widened_block = 1024;  // 3 blocks of 4 MiB

// A block of a stored matrix, widened and packed: `rows` stored rows of `columns`.
void widen(const bf16* source, int64_t leading, int64_t rows, int64_t columns, float* target) {
  parallel_blocks(rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t column = 0; column < columns; ++column) target[row * columns + column] = to_float(source[row * leading + column]);
    }
  });
}

struct Block {
  int64_t begin, size;
};

Block block_at(int64_t begin, int64_t extent) { return {begin, std::min(widened_block, extent - begin)}; }

// Widens rows x columns of a matrix given as stored or transposed; answers the leading dimension of the copy.
int64_t widen_block(const bf16* matrix, int64_t leading, Layout layout, Block rows, Block columns, float* target) {
  if (layout == Layout::transposed) std::swap(rows, columns);
  widen(matrix + rows.begin * leading + columns.begin, leading, rows.size, columns.size, target);
  return columns.size;
}

void store(const float* block, Block rows, Block columns, const GemmShape& shape, bf16* c) {
  parallel_blocks(rows.size, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      bf16* target = c + (rows.begin + row) * shape.ldc + columns.begin;
      for (int64_t column = 0; column < columns.size; ++column) target[column] = to_bf16(block[row * columns.size + column]);
    }
  });
}

class WidenedProduct {
 public:
  WidenedProduct(const GemmShape& shape, const bf16* a, const bf16* b)
      : shape_(shape), a_(a), b_(b), a_block_(block_elements(shape.m, shape.k)), b_block_(block_elements(shape.k, shape.n)) {}

  // target[rows, columns] (+)= A[rows, all k] B[all k, columns]
  Status run(Block rows, Block columns, float* target, int64_t target_leading, bool accumulate) {
    for (int64_t k = 0; k < shape_.k; k += widened_block) {
      const Block depth = block_at(k, shape_.k);
      const int64_t lda = widen_block(a_, shape_.lda, shape_.a, rows, depth, a_block_.data());
      const int64_t ldb = widen_block(b_, shape_.ldb, shape_.b, depth, columns, b_block_.data());
      const float beta = accumulate || k > 0 ? 1.0f : 0.0f;
      const char trans_a = shape_.a == Layout::normal ? 'N' : 'T';
      const char trans_b = shape_.b == Layout::normal ? 'N' : 'T';
      const dnnl_status_t status = dnnl_sgemm(trans_a, trans_b, rows.size, columns.size, depth.size, 1.0f, a_block_.data(), lda, b_block_.data(), ldb,
                                              beta, target, target_leading);
      if (status != dnnl_success) return refuse(status == dnnl_out_of_memory ? Code::out_of_memory : Code::unsupported, "oneDNN: sgemm failed");
    }
    return fine();
  }

 private:
  static size_t block_elements(int64_t rows, int64_t columns) {
    return static_cast<size_t>(std::min(rows, widened_block) * std::min(columns, widened_block));
  }

  const GemmShape shape_;
  const bf16* a_;
  const bf16* b_;
  std::vector<float> a_block_, b_block_;
};

template <typename Body>  // Status body(Block rows, Block columns)
Status each_block(const GemmShape& shape, const Body& body) {
  for (int64_t m = 0; m < shape.m; m += widened_block) {
    for (int64_t n = 0; n < shape.n; n += widened_block) LIMBECK_TRY(body(block_at(m, shape.m), block_at(n, shape.n)));
  }
  return fine();
}

Status run_widened(const GemmShape& shape, const bf16* a, const bf16* b, float* c) {
  WidenedProduct product(shape, a, b);
  return each_block(shape, [&](Block rows, Block columns) {
    return product.run(rows, columns, c + rows.begin * shape.ldc + columns.begin, shape.ldc, shape.accumulate);
  });
}

Status run_widened(const GemmShape& shape, const bf16* a, const bf16* b, bf16* c) {
  WidenedProduct product(shape, a, b);
  std::vector<float> block(static_cast<size_t>(std::min(shape.m, widened_block) * std::min(shape.n, widened_block)));
  return each_block(shape, [&](Block rows, Block columns) {
    LIMBECK_TRY(product.run(rows, columns, block.data(), columns.size, false));
    store(block.data(), rows, columns, shape, c);
    return fine();
  });
}

template <typename T>
void clear(const GemmShape& shape, T* c) {
  for (int64_t row = 0; row < shape.m; ++row) std::memset(c + row * shape.ldc, 0, static_cast<size_t>(shape.n) * sizeof(T));
}

template <typename T>
Status run(const GemmShape& shape, OutputType output, const bf16* a, const bf16* b, T* c) {
  if (shape.m == 0 || shape.n == 0) return fine();
  if (shape.k == 0) {
    if (!shape.accumulate) clear(shape, c);
    return fine();
  }
  return has_bf16_products() ? run_bf16(shape, output, a, b, c) : run_widened(shape, a, b, c);
}

}  // namespace

Status gemm(const GemmShape& shape, const bf16* a, const bf16* b, float* c) { return run(shape, OutputType::f32, a, b, c); }

Status gemm(const GemmShape& shape, const bf16* a, const bf16* b, bf16* c) {
  if (shape.accumulate) return refuse(Code::unsupported, "gemm adds to float32 only");
  return run(shape, OutputType::bf16, a, b, c);
}

}  // namespace limbeck
