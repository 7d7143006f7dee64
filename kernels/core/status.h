// status.h -- what an operation answers: fine, or why it refused before doing any work. Operations never throw, abort or exit.
//   `rehearsed` ends an operation that was called for its needs alone (rehearsal.h); it never reaches the caller as an error.
#pragma once
#include <string>
#include <utility>

namespace limbeck {

enum class Code { ok, bad_shape, bad_dtype, bad_handle, bad_value, out_of_memory, unsupported, rehearsed };

struct Status {
  Code code = Code::ok;
  std::string message;  // names the argument, what it was and what would be right
  bool ok() const { return code == Code::ok; }
};

inline Status fine() { return {}; }
inline Status refuse(Code code, std::string message) { return {code, std::move(message)}; }

}  // namespace limbeck

#define LIMBECK_TRY(expression)                          \
  do {                                                   \
    ::limbeck::Status status_ = (expression);            \
    if (!status_.ok()) return status_;                   \
  } while (0)
