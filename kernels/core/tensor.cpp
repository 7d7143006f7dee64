#include "core/tensor.h"

#include <sys/mman.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>
#include "core/pages.h"
#include "core/rehearsal.h"

namespace limbeck {

namespace {
int64_t allocated_bytes = 0;
}

enum class Backing { memory, address_space };

struct Storage {
  void* data;
  int64_t bytes;
  Backing backing;
  Storage(void* start, int64_t size, Backing kind) : data(start), bytes(size), backing(kind) {
    if (backing == Backing::memory) allocated_bytes += bytes;
  }
  ~Storage() {
    if (backing == Backing::address_space) {
      if (data) munmap(data, static_cast<size_t>(bytes));
      return;
    }
    allocated_bytes -= bytes;
    std::free(data);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
};

namespace {

constexpr int64_t alignment = 64;
constexpr int64_t index_bits = 24;  // up to 16 million live tensors; the 28 bits above count generations
constexpr int64_t generation_limit = int64_t{1} << 28;
constexpr int64_t largest_bytes = int64_t{1} << 50;

struct Slot {
  int64_t generation = 1;
  bool live = false;
  Tensor tensor;
};

std::vector<Slot> slots;
std::vector<int64_t> free_slots;

Status add(Tensor tensor, Handle* out) {
  if (free_slots.empty()) {
    if (slots.size() >> index_bits) return refuse(Code::out_of_memory, "too many live tensors; free some");
    free_slots.push_back(static_cast<int64_t>(slots.size()));
    slots.emplace_back();
  }
  const int64_t index = free_slots.back();
  free_slots.pop_back();
  Slot& slot = slots[index];
  slot.live = true;
  slot.tensor = std::move(tensor);
  *out = (slot.generation << index_bits) | index;
  return fine();
}

Slot* find_slot(Handle handle) {
  const int64_t index = handle & ((int64_t{1} << index_bits) - 1);
  if (handle < 0 || index >= static_cast<int64_t>(slots.size())) return nullptr;
  Slot& slot = slots[index];
  return slot.live && slot.generation == handle >> index_bits ? &slot : nullptr;
}

Status not_live(Handle handle) {
  return refuse(Code::bad_handle, "tensor " + std::to_string(handle) + " is not live; it was freed or never allocated");
}

// Linux grants memory it does not have and kills whoever touches it, so a large request is measured against what is there. Without /proc, no limit.
bool surely_too_large(int64_t bytes) {
  constexpr int64_t worth_asking = int64_t{64} << 20;
  if (bytes < worth_asking) return false;
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    long long kilobytes = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %lld kB", &kilobytes) == 1) return bytes / 1024 > kilobytes;
  }
  return false;
}

Status check_shape(const Shape& shape) {
  if (shape.axes < 1 || shape.axes > Shape::max_axes) {
    return refuse(Code::bad_shape, "a tensor has 1 to 4 axes, not " + std::to_string(shape.axes));
  }
  int64_t elements = 1;
  bool overflow = false;
  for (int axis = 0; axis < shape.axes; ++axis) {
    if (shape.extents[axis] < 0) return refuse(Code::bad_shape, "axis " + std::to_string(axis) + " of " + shape.text() + " is negative");
    if (shape.extents[axis] == 0) return fine();
    overflow = overflow || elements > largest_bytes / shape.extents[axis];
    if (!overflow) elements *= shape.extents[axis];
  }
  return overflow ? refuse(Code::out_of_memory, "a tensor of shape " + shape.text() + " is larger than any memory") : fine();
}

// Zeroed memory, or null when there is none.
void* take_memory(int64_t bytes) {
  const int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* memory = surely_too_large(rounded) ? nullptr : allocate_pages(static_cast<size_t>(rounded));
  if (memory) std::memset(memory, 0, static_cast<size_t>(rounded));
  return memory;
}

// Addresses that read as zeros and take memory only where they are written.
void* take_address_space(int64_t bytes) {
  void* start = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

}  // namespace

int64_t element_bytes(DType dtype) { return dtype == DType::bf16 ? 2 : 4; }

const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::i32: return "i32";
  }
  return "unknown";
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (int axis = 0; axis < axes; ++axis) product *= extents[axis];
  return product;
}

std::string Shape::text() const {
  std::string result = "[";
  for (int axis = 0; axis < axes; ++axis) result += (axis ? ", " : "") + std::to_string(extents[axis]);
  return result + "]";
}

Status tensor_alloc(DType dtype, const Shape& shape, Handle* out) {
  LIMBECK_TRY(check_shape(shape));
  const int64_t bytes = shape.elements() * element_bytes(dtype);
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.shape = shape;
  if (bytes > 0) {
    tensor.data = rehearsing ? take_address_space(bytes) : take_memory(bytes);
    if (!tensor.data) return refuse(Code::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes, shape " + shape.text());
  }
  tensor.storage = std::make_shared<Storage>(tensor.data, bytes, rehearsing ? Backing::address_space : Backing::memory);
  return add(std::move(tensor), out);
}

Status tensor_view(Handle base, int64_t offset, const Shape& shape, Handle* out) {
  const Tensor* source = tensor_find(base);
  if (!source) return not_live(base);
  LIMBECK_TRY(check_shape(shape));
  const int64_t available = source->shape.elements();
  if (offset < 0 || offset > available || shape.elements() > available - offset) {
    return refuse(Code::bad_shape, "a view of shape " + shape.text() + " from element " + std::to_string(offset) + " leaves its base of shape " +
                                       source->shape.text());
  }
  Tensor tensor = *source;
  tensor.shape = shape;
  if (tensor.data) tensor.data = static_cast<char*>(tensor.data) + offset * element_bytes(tensor.dtype);
  return add(std::move(tensor), out);
}

Status tensor_free(Handle handle) {
  Slot* slot = find_slot(handle);
  if (!slot) return not_live(handle);
  slot->live = false;
  slot->tensor = Tensor{};
  slot->generation = slot->generation + 1 < generation_limit ? slot->generation + 1 : 1;
  free_slots.push_back(handle & ((int64_t{1} << index_bits) - 1));
  return fine();
}

const Tensor* tensor_find(Handle handle) {
  const Slot* slot = find_slot(handle);
  return slot ? &slot->tensor : nullptr;
}

int64_t tensor_allocated_bytes() { return allocated_bytes; }

}  // namespace limbeck
