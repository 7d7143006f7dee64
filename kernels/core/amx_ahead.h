// amx_ahead.h -- memory that is wanted next, brought into the second-level cache a few lines at a time while something else is done. Lines are asked for in the
//   order of their addresses, so that the CPU's own prefetchers see streams: they keep three times as many lines on their way as a core alone.
#pragma once
#include <immintrin.h>
#include <cstdint>

namespace limbeck::amx {

constexpr int64_t line_bytes = 64;

class Ahead {
 public:
  Ahead() = default;  // nothing
  // `rows` rows of `row_bytes` bytes, `stride` bytes apart.
  Ahead(const void* data, int64_t stride, int64_t row_bytes, int64_t rows)
      : row_(static_cast<const char*>(data)), stride_(stride), row_lines_((row_bytes + line_bytes - 1) / line_bytes), rows_(row_lines_ > 0 ? rows : 0) {}

  int64_t lines() const { return row_lines_ * rows_; }

  void fetch_all() { fetch(lines()); }

  void fetch(int64_t lines) {
    for (; lines > 0 && rows_ > 0; --lines) {
      _mm_prefetch(row_ + line_ * line_bytes, _MM_HINT_T1);
      if (++line_ < row_lines_) continue;
      line_ = 0;
      row_ += stride_;
      --rows_;
    }
  }

 private:
  const char* row_ = nullptr;
  int64_t stride_ = 0, row_lines_ = 0, rows_ = 0, line_ = 0;
};

}  // namespace limbeck::amx
