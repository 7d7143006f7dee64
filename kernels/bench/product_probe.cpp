#include <omp.h>
#include <dnnl.hpp>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include "bench/probe.h"

namespace limbeck::bench {
namespace {

using dnnl::memory;

dnnl::engine& cpu_engine() {
  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& cpu_stream() {
  static dnnl::stream stream(cpu_engine());
  return stream;
}

// oneDNN 2.6 refuses bf16 where the CPU has no instructions for it; the engine multiplies in float32 there, and so does its limit.
memory::data_type operand_type() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto bf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & bf16) == bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc stored(int64_t rows, int64_t columns, bool transposed, memory::data_type type) {
  const memory::dims strides = transposed ? memory::dims{1, rows} : memory::dims{columns, 1};
  return {{rows, columns}, type, strides};
}

dnnl::matmul::primitive_desc describe(const memory::desc& a, const memory::desc& b, const memory::desc& c, bool accumulate) {
  dnnl::primitive_attr attributes;
  if (accumulate) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return {cpu_engine(), a, b, c, attributes};
#else
  return {dnnl::matmul::desc(a, b, c), attributes, cpu_engine()};
#endif
}

// Uniform in [-1, 1) by xorshift; zeros would let some CPUs clock higher.
void fill(memory& operand) {
  const size_t bytes = operand.get_desc().get_size();
  const bool narrow = operand_type() == memory::data_type::bf16;
  auto* words = static_cast<uint32_t*>(operand.get_data_handle());
  uint32_t state = 1;
  const auto next = [&] {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    const float value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
  };
  for (size_t i = 0; i < bytes / 4; ++i) words[i] = narrow ? next() >> 16 | (next() & 0xffff0000u) : next();
}

struct Product {
  memory a, b, c;
  dnnl::matmul primitive;
};

Product make(const ProductShape& shape) {
  const memory::data_type type = operand_type();
  const bool f32_output = shape.f32_output || type == memory::data_type::f32;
  const memory::desc a = stored(shape.m, shape.k, shape.a_transposed, type);
  const memory::desc b = stored(shape.k, shape.n, shape.b_transposed, type);
  const memory::desc c = stored(shape.m, shape.n, false, f32_output ? memory::data_type::f32 : memory::data_type::bf16);
  const memory::desc liked = shape.packed ? memory::desc({shape.k, shape.n}, type, memory::format_tag::any) : b;
  const auto described = describe(a, liked, c, shape.accumulate);
  Product product{memory(a, cpu_engine()), memory(b, cpu_engine()), memory(c, cpu_engine()), dnnl::matmul(described)};
  fill(product.a);
  fill(product.b);
  __builtin_memset(product.c.get_data_handle(), 0, c.get_size());
  if (described.weights_desc() != b) {
    memory packed(described.weights_desc(), cpu_engine());
    dnnl::reorder(product.b, packed).execute(cpu_stream(), product.b, packed);
    cpu_stream().wait();
    product.b = packed;
  }
  return product;
}

std::map<int64_t, Product>& products() {
  static std::map<int64_t, Product> all;
  return all;
}

}  // namespace

int64_t create_product(const ProductShape& shape) {
  static int64_t last = 0;
  products().emplace(++last, make(shape));
  return last;
}

double run_product(int64_t id) {
  const auto found = products().find(id);
  if (found == products().end()) throw std::invalid_argument("product " + std::to_string(id) + " was freed or never made");
  Product& product = found->second;
  const double begin = omp_get_wtime();
  product.primitive.execute(cpu_stream(), {{DNNL_ARG_SRC, product.a}, {DNNL_ARG_WEIGHTS, product.b}, {DNNL_ARG_DST, product.c}});
  cpu_stream().wait();
  return omp_get_wtime() - begin;
}

void free_product(int64_t id) { products().erase(id); }

}  // namespace limbeck::bench
