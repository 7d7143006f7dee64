#include "binding/call.h"

#include <cmath>
#include <cstring>

namespace limbeck {

namespace {

std::vector<Entry>& operations() {
  static std::vector<Entry> entries;
  return entries;
}

std::string plural(int count, const char* noun) { return std::to_string(count) + " " + noun + (count == 1 ? "" : "s"); }

}  // namespace

Group::Group(std::initializer_list<Entry> entries) { operations().insert(operations().end(), entries); }

const std::vector<Entry>& registered_operations() { return operations(); }

Call::Call(napi_env env, napi_callback_info info, int arity) : env_(env) {
  size_t count = most_arguments;
  if (napi_get_cb_info(env, info, &count, values_, nullptr, nullptr) != napi_ok) {
    fail(Code::bad_value, "the arguments cannot be read");
  } else if (count != static_cast<size_t>(arity)) {
    fail(Code::bad_value, "takes " + plural(arity, "argument") + ", not " + std::to_string(count));
  }
}

void Call::fail(Code code, std::string message) {
  if (!failed()) status_ = refuse(code, std::move(message));
}

Handle Call::handle(const char* name) {
  const napi_value value = next();
  if (failed()) return 0;
  int64_t result = 0;
  if (napi_get_value_int64(env_, value, &result) != napi_ok) fail(Code::bad_handle, std::string(name) + " must be a tensor");
  return result;
}

const Tensor* Call::find(const char* name, napi_value value, Presence presence) {
  int64_t handle = 0;
  if (napi_get_value_int64(env_, value, &handle) != napi_ok) {
    fail(Code::bad_handle, std::string(name) + " must be a tensor");
    return nullptr;
  }
  if (handle == -1 && presence == Presence::optional) return nullptr;
  const Tensor* tensor = tensor_find(handle);
  if (!tensor) {
    fail(Code::bad_handle, handle == -1 ? std::string(name) + " may not be absent"
                                        : std::string(name) + " is tensor " + std::to_string(handle) + ", which was freed or never allocated");
  }
  return tensor;
}

void Call::match(const char* name, const char* axes, const Shape& shape) {
  const int wanted = static_cast<int>(std::strlen(axes));
  if (shape.axes != wanted) {
    return fail(Code::bad_shape, std::string(name) + " has shape " + shape.text() + "; it must have " + plural(wanted, "axis"));
  }
  for (int axis = 0; axis < wanted; ++axis) {
    const int64_t extent = shape.extents[axis];
    const char letter = axes[axis];
    if (letter >= '0' && letter <= '9') {
      if (extent == letter - '0') continue;
      return fail(Code::bad_shape, std::string(name) + " has shape " + shape.text() + "; axis " + std::to_string(axis) + " must be " + letter);
    }
    Axis& known = axes_[letter - 'A'];
    if (known.extent < 0) {
      known = {extent, name};
    } else if (known.extent != extent) {
      return fail(Code::bad_shape, std::string(name) + " has shape " + shape.text() + "; axis " + std::to_string(axis) + " must be " +
                                       std::to_string(known.extent) + " as in " + known.first);
    }
  }
}

void Call::expect(char axis, int64_t extent) {
  if (!failed()) axes_[axis - 'A'] = {extent, "the operation's contract"};
}

void* Call::typed(const char* name, const char* axes, Wanted wanted) {
  const napi_value value = next();
  if (failed()) return nullptr;
  const Tensor* tensor = find(name, value, wanted.presence);
  if (!tensor) return nullptr;
  if (tensor->dtype != wanted.dtype) {
    fail(Code::bad_dtype, std::string(name) + " is " + dtype_name(tensor->dtype) + "; it must be " + dtype_name(wanted.dtype));
    return nullptr;
  }
  match(name, axes, tensor->shape);
  static char no_elements[64];  // a present tensor is never null, even an empty one
  return tensor->data ? tensor->data : no_elements;
}

AnyTensor Call::any_tensor(const char* name) {
  const napi_value value = next();
  if (failed()) return {};
  const Tensor* tensor = find(name, value, Presence::required);
  return tensor ? AnyTensor{tensor->data, tensor->dtype, tensor->shape} : AnyTensor{};
}

AnyTensor Call::any_tensor(const char* name, const char* axes) {
  const AnyTensor result = any_tensor(name);
  if (!failed()) match(name, axes, result.shape);
  return result;
}

AnyTensor Call::optional_any_tensor(const char* name, const char* axes) {
  const napi_value value = next();
  if (failed()) return {};
  const Tensor* tensor = find(name, value, Presence::optional);
  if (!tensor) return {};
  match(name, axes, tensor->shape);
  return {tensor->data, tensor->dtype, tensor->shape};
}

std::vector<AnyTensor> Call::tensors(const char* name, DType dtype) {
  const napi_value list = next();
  std::vector<AnyTensor> result;
  uint32_t count = 0;
  if (failed()) return result;
  if (napi_get_array_length(env_, list, &count) != napi_ok) fail(Code::bad_value, std::string(name) + " must be an array of tensors");
  for (uint32_t index = 0; index < count && !failed(); ++index) {
    const std::string element = std::string(name) + "[" + std::to_string(index) + "]";
    napi_value value;
    napi_get_element(env_, list, index, &value);
    const Tensor* tensor = find(element.c_str(), value, Presence::required);
    if (!tensor) break;
    if (tensor->dtype != dtype) fail(Code::bad_dtype, element + " is " + dtype_name(tensor->dtype) + "; it must be " + dtype_name(dtype));
    result.push_back({tensor->data, tensor->dtype, tensor->shape});
  }
  return result;
}

double Call::number(const char* name) {
  const napi_value value = next();
  if (failed()) return 0;
  double result = 0;
  if (napi_get_value_double(env_, value, &result) != napi_ok || !std::isfinite(result)) {
    fail(Code::bad_value, std::string(name) + " must be a finite number");
  }
  return result;
}

double Call::number_from(const char* name, double least) {
  const double value = number(name);
  if (value < least) fail(Code::bad_value, std::string(name) + " is " + std::to_string(value) + "; it must be at least " + std::to_string(least));
  return value;
}

int64_t Call::integer(const char* name, int64_t least, int64_t most) {
  const double value = number(name);
  if (failed()) return 0;
  if (value != std::floor(value) || value < static_cast<double>(least) || value > static_cast<double>(most)) {
    fail(Code::bad_value, std::string(name) + " is " + std::to_string(value) + "; it must be a whole number from " + std::to_string(least) + " to " +
                              std::to_string(most));
    return 0;
  }
  return static_cast<int64_t>(value);
}

DType Call::dtype(const char* name) {
  const napi_value value = next();
  if (failed()) return DType::f32;
  char text[8] = {};
  napi_get_value_string_utf8(env_, value, text, sizeof text, nullptr);
  for (DType dtype : {DType::f32, DType::bf16, DType::i32}) {
    if (std::strcmp(text, dtype_name(dtype)) == 0) return dtype;
  }
  fail(Code::bad_dtype, std::string(name) + " must be 'f32', 'bf16' or 'i32'");
  return DType::f32;
}

Shape Call::shape(const char* name) {
  const napi_value list = next();
  Shape result;
  uint32_t count = 0;
  if (failed()) return result;
  if (napi_get_array_length(env_, list, &count) != napi_ok || count < 1 || count > Shape::max_axes) {
    fail(Code::bad_shape, std::string(name) + " must be an array of 1 to 4 extents");
    return result;
  }
  result.axes = static_cast<int>(count);
  for (uint32_t axis = 0; axis < count; ++axis) {
    napi_value value;
    double extent = -1;
    napi_get_element(env_, list, axis, &value);
    if (napi_get_value_double(env_, value, &extent) != napi_ok || !(extent >= 0 && extent <= 0x1p53 && extent == std::floor(extent))) {
      fail(Code::bad_shape, std::string(name) + "[" + std::to_string(axis) + "] must be a whole number >= 0");
      return result;
    }
    result.extents[axis] = static_cast<int64_t>(extent);
  }
  return result;
}

void* Call::typed_array(const char* name, DType dtype, int64_t elements) {
  const napi_value value = next();
  if (failed()) return nullptr;
  const napi_typedarray_type wanted = dtype == DType::f32 ? napi_float32_array : dtype == DType::bf16 ? napi_uint16_array : napi_int32_array;
  const char* wanted_name = dtype == DType::f32 ? "Float32Array" : dtype == DType::bf16 ? "Uint16Array" : "Int32Array";
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env_, value, &type, &length, &data, nullptr, nullptr) != napi_ok || type != wanted) {
    fail(Code::bad_dtype, std::string(name) + " must be a " + wanted_name + " for a tensor of " + dtype_name(dtype));
  } else if (static_cast<int64_t>(length) != elements) {
    fail(Code::bad_shape, std::string(name) + " has " + std::to_string(length) + " elements; the tensor has " + std::to_string(elements));
  }
  return data;
}

Status Call::give(double number) {
  napi_create_double(env_, number, &result_);
  return fine();
}

Status Call::give(const std::string& text) {
  napi_create_string_utf8(env_, text.data(), text.size(), &result_);
  return fine();
}

Status Call::give(bool flag) {
  napi_get_boolean(env_, flag, &result_);
  return fine();
}

Status head_width(int64_t columns, int64_t heads, int64_t kv_heads, int64_t* width) {
  const int64_t blocks = heads + 2 * kv_heads;
  if (heads % kv_heads != 0) {
    return refuse(Code::bad_shape, std::to_string(heads) + " heads cannot share " + std::to_string(kv_heads) + " key heads evenly");
  }
  if (columns % blocks != 0 || columns / blocks % 2 != 0 || columns == 0) {
    return refuse(Code::bad_shape, std::to_string(columns) + " columns of q|k|v are not (heads + 2 kvHeads) = " + std::to_string(blocks) +
                                       " heads of one even width");
  }
  *width = columns / blocks;
  return fine();
}

}  // namespace limbeck
