// indices.h -- checks of index arrays that a caller hands in; an index out of range would read or write another tensor's memory.
#pragma once
#include <cstdint>
#include <string>
#include "core/status.h"

namespace limbeck {

// Every indices[i], i in [0, count), lies in [0, limit).
inline Status check_indices(const char* name, const int32_t* indices, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i) {
    if (indices[i] >= 0 && indices[i] < limit) continue;
    return refuse(Code::bad_value, std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(indices[i]) + "; it must lie in [0, " +
                                       std::to_string(limit) + ")");
  }
  return fine();
}

}  // namespace limbeck
