// call.h -- one call from JavaScript. An operation reads its arguments in order, checks once, then computes:
//
//   Status swiglu_forward(Call& call) {
//     const bf16* gate_up = call.tensor<bf16>("gateUp_N2F", "NW");
//     bf16* out = call.tensor<bf16>("out_NF", "NF");
//     LIMBECK_TRY(call.check());
//     if (call.extent('W') != 2 * call.extent('F')) return call.bad_shape("gateUp_N2F must be twice as wide as out_NF");
//     return cpu::swiglu_forward({call.extent('N'), call.extent('F')}, {gate_up, out});
//   }
//   const Group group({{"swigluForward", 2, swiglu_forward}});
//
// `axes` has one character an axis: a capital letter stands for one extent throughout the call, a digit for exactly that extent. The first thing
// wrong is kept and answered by check(); until then readers after it return null or 0, so nothing may be used before check().
#pragma once
#include <node_api.h>
#include <array>
#include <initializer_list>
#include <string>
#include <vector>
#include "core/status.h"
#include "core/tensor.h"

namespace limbeck {

struct AnyTensor {  // an argument whose dtype or shape the operation looks at itself
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  int64_t elements() const { return shape.elements(); }
};

class Call {
 public:
  Call(napi_env env, napi_callback_info info, int arity);

  // A tensor of dtype T; null when its handle is NO_TENSOR and it is optional.
  template <typename T> T* tensor(const char* name, const char* axes) {
    return static_cast<T*>(typed(name, axes, {DTypeOf<T>::value, Presence::required}));
  }
  template <typename T> T* optional_tensor(const char* name, const char* axes) {
    return static_cast<T*>(typed(name, axes, {DTypeOf<T>::value, Presence::optional}));
  }
  AnyTensor any_tensor(const char* name);                    // any dtype, any shape
  AnyTensor any_tensor(const char* name, const char* axes);  // any dtype
  AnyTensor optional_any_tensor(const char* name, const char* axes);  // any dtype; f32 with null data when its handle is NO_TENSOR
  std::vector<AnyTensor> tensors(const char* name, DType dtype);  // an array of tensors of any shapes

  Handle handle(const char* name);  // not looked up
  int64_t integer(const char* name, int64_t least, int64_t most);
  double number(const char* name);  // finite
  double number_from(const char* name, double least);  // finite and >= least
  DType dtype(const char* name);    // 'f32', 'bf16' or 'i32'
  Shape shape(const char* name);    // an array of numbers
  void* typed_array(const char* name, DType dtype, int64_t elements);  // Float32Array, Uint16Array (bf16) or Int32Array of exactly that length

  void expect(char axis, int64_t extent);  // fixes a letter before a tensor uses it
  int64_t extent(char axis) const { return axes_[axis - 'A'].extent; }
  Status check() const { return status_; }
  Status bad_shape(const std::string& what) const { return refuse(Code::bad_shape, what); }

  Status give(double number);  // the call's return value
  Status give(const std::string& text);
  Status give(bool flag);

  napi_value result() const { return result_; }

 private:
  enum class Presence { required, optional };
  struct Wanted {
    DType dtype;
    Presence presence;
  };
  struct Axis {
    int64_t extent = -1;
    const char* first = nullptr;  // the argument that set it
  };
  static constexpr size_t most_arguments = 16;

  napi_value next() { return values_[position_++]; }
  bool failed() const { return !status_.ok(); }
  void fail(Code code, std::string message);
  const Tensor* find(const char* name, napi_value value, Presence presence);
  void* typed(const char* name, const char* axes, Wanted wanted);
  void match(const char* name, const char* axes, const Shape& shape);

  napi_env env_;
  napi_value values_[most_arguments];
  size_t position_ = 0;
  std::array<Axis, 26> axes_;
  Status status_;
  napi_value result_ = nullptr;
};

using Operation = Status (*)(Call&);

struct Entry {
  const char* name;  // as in the interface `Kernels`
  int arity;
  Operation operation;
};

// A static Group in a bind_<group>.cpp puts its operations on the module's table.
class Group {
 public:
  Group(std::initializer_list<Entry> entries);
};

const std::vector<Entry>& registered_operations();

// Width K of one head of a fused q|k|v row of `columns` = (heads + 2 kv_heads) K; refuses when they do not fit or K is odd.
Status head_width(int64_t columns, int64_t heads, int64_t kv_heads, int64_t* width);

}  // namespace limbeck
