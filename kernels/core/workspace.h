// workspace.h -- scratch memory that operations share: it grows to the largest request and stays, because handing tens of megabytes back to the
//   system after every call costs more in page faults than the call's own arithmetic. One operation runs at a time; what it finds is undefined.
#pragma once
#include <cstddef>
#include "core/status.h"

namespace limbeck {

// Sets *out to at least `bytes` bytes, 64-byte aligned, valid until the next call. Answers out_of_memory and keeps the old block when there are none.
Status workspace(size_t bytes, void** out);

}  // namespace limbeck
