// rehearsal.h -- a call that is only rehearsed: the operation checks its arguments and asks for its scratch memory, which ends it; it computes nothing.
//   Tensors made in a rehearsal are address space without memory behind it until it is written. So a whole pass can be walked, by the code that will
//   run it, for the memory it is going to take.
#pragma once

namespace limbeck {

inline thread_local bool rehearsing = false;

// Makes what its thread calls a rehearsal while it lives.
class Rehearsal {
 public:
  Rehearsal() { rehearsing = true; }
  ~Rehearsal() { rehearsing = false; }
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;
};

}  // namespace limbeck
