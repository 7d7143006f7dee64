// bind_tensor.cpp -- tensors, threads, and what bits depend on.
#include <cstring>
#include "binding/call.h"
#include "core/build_info.h"
#include "core/gemm.h"
#include "core/parallel.h"
#include "core/rehearsal.h"
#include "core/workspace.h"
#include "ops/elementwise.h"

namespace limbeck {
namespace {

Status alloc(Call& call) {
  const DType dtype = call.dtype("dtype");
  const Shape shape = call.shape("shape");
  LIMBECK_TRY(call.check());
  Handle handle = 0;
  LIMBECK_TRY(tensor_alloc(dtype, shape, &handle));
  return call.give(static_cast<double>(handle));
}

Status view(Call& call) {
  const Handle base = call.handle("base");
  const int64_t offset = call.integer("offset", 0, int64_t{1} << 50);
  const Shape shape = call.shape("shape");
  LIMBECK_TRY(call.check());
  Handle handle = 0;
  LIMBECK_TRY(tensor_view(base, offset, shape, &handle));
  return call.give(static_cast<double>(handle));
}

Status free_tensor(Call& call) {
  const Handle handle = call.handle("tensor");
  LIMBECK_TRY(call.check());
  return tensor_free(handle);
}

Status allocated_bytes(Call& call) { return call.give(static_cast<double>(tensor_allocated_bytes())); }

Status give_workspace_bytes(Call& call) { return call.give(static_cast<double>(rehearsing ? take_rehearsed_workspace() : workspace_bytes())); }

Status write(Call& call) {
  const AnyTensor tensor = call.any_tensor("tensor");
  const void* source = call.typed_array("source", tensor.dtype, tensor.elements());
  LIMBECK_TRY(call.check());
  if (tensor.elements() > 0) std::memcpy(tensor.data, source, static_cast<size_t>(tensor.elements() * element_bytes(tensor.dtype)));
  return fine();
}

Status read(Call& call) {
  const AnyTensor tensor = call.any_tensor("tensor");
  void* target = call.typed_array("target", tensor.dtype, tensor.elements());
  LIMBECK_TRY(call.check());
  if (tensor.elements() > 0) std::memcpy(target, tensor.data, static_cast<size_t>(tensor.elements() * element_bytes(tensor.dtype)));
  return fine();
}

Status zero(Call& call) {
  const AnyTensor tensor = call.any_tensor("tensor");
  LIMBECK_TRY(call.check());
  return cpu::zero(tensor.elements() * element_bytes(tensor.dtype), tensor.data);
}

Status convert(Call& call) {
  const AnyTensor source = call.any_tensor("source");
  const AnyTensor target = call.any_tensor("target");
  LIMBECK_TRY(call.check());
  const int64_t elements = source.elements();
  if (elements != target.elements()) {
    return call.bad_shape("source has shape " + source.shape.text() + " and target " + target.shape.text() + "; they must hold equally many elements");
  }
  if (source.dtype == target.dtype) return cpu::copy(elements * element_bytes(source.dtype), source.data, target.data);
  if (source.dtype == DType::f32 && target.dtype == DType::bf16) {
    return cpu::round_to_bf16(elements, static_cast<const float*>(source.data), static_cast<bf16*>(target.data));
  }
  if (source.dtype == DType::bf16 && target.dtype == DType::f32) {
    return cpu::widen_to_f32(elements, static_cast<const bf16*>(source.data), static_cast<float*>(target.data));
  }
  return refuse(Code::bad_dtype, std::string(dtype_name(source.dtype)) + " does not convert to " + dtype_name(target.dtype));
}

Status set_threads(Call& call) {
  const int64_t threads = call.integer("threads", 1, 1024);
  LIMBECK_TRY(call.check());
  set_thread_count(static_cast<int>(threads));
  return fine();
}

Status give_build_info(Call& call) { return call.give(build_info()); }

const Group group({{"alloc", 2, alloc},
                   {"view", 3, view},
                   {"free", 1, free_tensor},
                   {"allocatedBytes", 0, allocated_bytes},
                   {"workspaceBytes", 0, give_workspace_bytes},
                   {"write", 2, write},
                   {"read", 2, read},
                   {"zero", 1, zero},
                   {"convert", 2, convert},
                   {"setThreads", 1, set_threads},
                   {"buildInfo", 0, give_build_info}});

}  // namespace
}  // namespace limbeck
