// module.cpp -- puts every registered operation on the module's exports, and once more on `exports.rehearsal`, where it is only rehearsed; turns a refused
//   Status into a JavaScript Error with a stable `code`.
#include <exception>
#include <new>
#include "binding/call.h"
#include "core/rehearsal.h"

namespace limbeck {
namespace {

const char* code_text(Code code) {
  switch (code) {
    case Code::bad_shape: return "kernels.bad_shape";
    case Code::bad_dtype: return "kernels.bad_dtype";
    case Code::bad_handle: return "kernels.bad_handle";
    case Code::bad_value: return "kernels.bad_value";
    case Code::out_of_memory: return "kernels.out_of_memory";
    case Code::unsupported: return "kernels.unsupported";
    case Code::ok:
    case Code::rehearsed: break;
  }
  return "kernels.failed";
}

Status run_guarded(const Entry& entry, Call& call) {
  try {
    return entry.operation(call);
  } catch (const std::bad_alloc&) {
    return refuse(Code::out_of_memory, "no memory for scratch space");
  } catch (const std::exception& error) {
    return refuse(Code::unsupported, error.what());
  }
}

napi_value invoke(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  const Entry& entry = *static_cast<const Entry*>(data);
  Call call(env, info, entry.arity);
  const Status status = call.check().ok() ? run_guarded(entry, call) : call.check();
  if (!status.ok() && status.code != Code::rehearsed) {
    napi_throw_error(env, code_text(status.code), (std::string(entry.name) + ": " + status.message).c_str());
    return nullptr;
  }
  return call.result();
}

napi_value rehearse(napi_env env, napi_callback_info info) {
  const Rehearsal rehearsal;
  return invoke(env, info);
}

// Puts every operation on `object`, called through `callback`.
bool put_operations(napi_env env, napi_value object, napi_callback callback) {
  for (const Entry& entry : registered_operations()) {
    napi_value function;
    void* data = const_cast<Entry*>(&entry);
    if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, callback, data, &function) != napi_ok ||
        napi_set_named_property(env, object, entry.name, function) != napi_ok) {
      return false;
    }
  }
  return true;
}

}  // namespace
}  // namespace limbeck

NAPI_MODULE_INIT() {
  napi_value rehearsal;
  if (!limbeck::put_operations(env, exports, limbeck::invoke) || napi_create_object(env, &rehearsal) != napi_ok ||
      !limbeck::put_operations(env, rehearsal, limbeck::rehearse) || napi_set_named_property(env, exports, "rehearsal", rehearsal) != napi_ok) {
    napi_throw_error(env, "kernels.failed", "the native operations cannot be put on the module");
    return nullptr;
  }
  return exports;
}
