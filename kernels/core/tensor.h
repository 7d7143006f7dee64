// tensor.h -- the table of live tensors. A tensor is contiguous, row-major memory with a dtype and up to four axes; the world outside holds it by
//   an integer handle whose generation is checked, so that a handle used after free is refused instead of reading another tensor's memory.
//   Fresh memory is zeroed and 64-byte aligned (a view starts where it starts). The table belongs to one thread, the one that calls operations.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include "core/bf16.h"
#include "core/status.h"

namespace limbeck {

enum class DType { f32, bf16, i32 };

int64_t element_bytes(DType);
const char* dtype_name(DType);

template <typename T> struct DTypeOf;
template <> struct DTypeOf<float> { static constexpr DType value = DType::f32; };
template <> struct DTypeOf<bf16> { static constexpr DType value = DType::bf16; };
template <> struct DTypeOf<int32_t> { static constexpr DType value = DType::i32; };

struct Shape {
  static constexpr int max_axes = 4;
  int axes = 0;  // 1 to max_axes
  int64_t extents[max_axes] = {};  // each >= 0
  int64_t elements() const;
  std::string text() const;  // "[3, 5]"
};

struct Storage;  // one allocation, shared by a tensor and its views

struct Tensor {
  std::shared_ptr<Storage> storage;
  void* data = nullptr;  // null when there are no elements
  DType dtype = DType::f32;
  Shape shape;
};

using Handle = int64_t;  // >= 1; below 2^53, so that a JavaScript number holds it

// In a rehearsal (rehearsal.h) tensor_alloc gives address space instead of memory, which is not counted.
// Each answers bad_shape, bad_handle or out_of_memory and leaves the table as it was, or sets *out.
Status tensor_alloc(DType, const Shape&, Handle* out);
Status tensor_view(Handle base, int64_t offset, const Shape&, Handle* out);  // `offset` in elements; the view keeps the base's memory alive
Status tensor_free(Handle);

const Tensor* tensor_find(Handle);  // null when the handle is not live; the pointer holds until the next alloc, view or free
int64_t tensor_allocated_bytes();   // bytes of elements in all live storages, each counted once

}  // namespace limbeck
