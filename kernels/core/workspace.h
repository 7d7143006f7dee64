// workspace.h -- scratch memory that operations share: it grows to the largest request and stays, because handing tens of megabytes back to the
//   system after every call costs more in page faults than the call's own arithmetic. One operation runs at a time; what it finds is undefined.
//   An operation asks for all its scratch at once, before it reads or writes a float: a rehearsal ends there.
#pragma once
#include <cstddef>
#include <cstdint>
#include "core/status.h"

namespace limbeck {

// Sets *out to at least `bytes` bytes, 64-byte aligned, valid until the next call. Answers out_of_memory and keeps the old block when there are none,
// and `rehearsed` in a rehearsal.
Status workspace(size_t bytes, void** out);

int64_t workspace_bytes();             // held now
int64_t take_rehearsed_workspace();    // the most that was asked for in rehearsals since this was last called

}  // namespace limbeck
