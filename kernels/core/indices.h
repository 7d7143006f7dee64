// indices.h -- checks of index arrays that a caller hands in; an index out of range would read or write another tensor's memory.
#pragma once
#include <cstdint>
#include <string>
#include "core/status.h"

namespace limbeck {

struct Indices {
  const char* name;  // of the argument
  const int32_t* values;
  int64_t count;
};

// Every index lies in [0, limit).
inline Status check_indices(const Indices& indices, int64_t limit) {
  for (int64_t i = 0; i < indices.count; ++i) {
    const int32_t value = indices.values[i];
    if (value >= 0 && value < limit) continue;
    return refuse(Code::bad_value, std::string(indices.name) + "[" + std::to_string(i) + "] is " + std::to_string(value) + "; it must lie in [0, " +
                                       std::to_string(limit) + ")");
  }
  return fine();
}

}  // namespace limbeck
