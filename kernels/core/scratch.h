// scratch.h -- aligned memory of a product's own that grows to the largest request and stays.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include "core/pages.h"
#include "core/status.h"

namespace limbeck {

class Scratch {
 public:
  // Null when there is no memory.
  void* at_least(int64_t bytes) {
    if (bytes > bytes_) {
      memory_.reset(allocate_pages(static_cast<size_t>(bytes)));
      bytes_ = memory_ ? bytes : 0;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  int64_t bytes_ = 0;
};

inline Status no_memory(int64_t bytes) { return refuse(Code::out_of_memory, "no memory for " + std::to_string(bytes) + " bytes of a product's panels"); }

}  // namespace limbeck
