// attention_backward.cpu.cpp -- one item of work is (sequence, kv head). It walks blocks of keys, and for each the blocks of queries at or after it:
//   dk and dv of the block stay in cache while dq of the whole sequence gathers in scratch. Every sum has one fixed order.
#include <algorithm>
#include <cmath>
#include <limits>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/tile_gemm.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_tiles.h"

namespace limbeck::cpu {

namespace {

struct BackwardScratch {
  float *q, *dout, *p, *ds, *k, *k_transposed, *v_transposed, *dk, *dv, *dq, *delta;
  static int64_t floats(const HeadLayout& head, int64_t longest) {
    return head.rows * 2 * (head.padded + key_block) + 5 * key_block * head.padded + head.group * (longest * head.padded + round_to_lanes(longest));
  }
  BackwardScratch(const HeadLayout& head, int64_t longest, float* memory) {
    q = memory;
    dout = q + head.rows * head.padded;
    p = dout + head.rows * head.padded;
    ds = p + head.rows * key_block;
    k = ds + head.rows * key_block;
    k_transposed = k + key_block * head.padded;
    v_transposed = k_transposed + key_block * head.padded;
    dk = v_transposed + key_block * head.padded;
    dv = dk + key_block * head.padded;
    dq = dv + key_block * head.padded;
    delta = dq + head.group * longest * head.padded;
  }
};

// One sequence and kv head.
struct Item {
  Range sequence;
  int64_t kv_head;
};

class SequenceBackward {
 public:
  SequenceBackward(const HeadLayout& head, const AttentionBackward& io, const BackwardScratch& scratch, const Item& item)
      : head_(head), io_(io), t_(scratch), sequence_(item.sequence), kv_head_(item.kv_head), scale_(1.0f / std::sqrt(static_cast<float>(head.width))) {}

  void run() {
    sum_delta();
    std::fill(t_.dq, t_.dq + head_.group * sequence_.count() * head_.padded, 0.0f);
    for (int64_t begin = sequence_.begin; begin < sequence_.end; begin += key_block) {
      walk_queries({sequence_.first, begin, std::min(begin + key_block, sequence_.end)});
    }
    for (int64_t i = 0; i < sequence_.count(); ++i) {
      for (int64_t member = 0; member < head_.group; ++member) {
        bf16* to = io_.dqkv_NC + (sequence_.begin + i) * head_.columns + head_.q(kv_head_) + member * head_.width;
        head_.narrow(t_.dq + (i * head_.group + member) * head_.padded, scale_, to);
      }
    }
  }

 private:
  // delta[i, member] = out_i . dout_i
  void sum_delta() {
    for (int64_t i = 0; i < sequence_.count(); ++i) {
      for (int64_t member = 0; member < head_.group; ++member) {
        const int64_t at = (sequence_.begin + i) * head_.outputs + head_.q(kv_head_) + member * head_.width;
        float sum = 0;
        for (int64_t d = 0; d < head_.width; ++d) sum += to_float(io_.out_NHK[at + d]) * to_float(io_.dout_NHK[at + d]);
        t_.delta[i * head_.group + member] = sum;
      }
    }
  }

  void walk_queries(const Range& keys) {
    const HeadRows k{io_.qkv_NC + head_.k(kv_head_), head_.columns};
    head_.widen_keys(k, keys, t_.k);
    head_.widen_keys_transposed(k, keys, t_.k_transposed);
    head_.widen_keys_transposed({io_.qkv_NC + head_.v(kv_head_), head_.columns}, keys, t_.v_transposed);
    std::fill(t_.dk, t_.dk + keys.count() * head_.padded, 0.0f);
    std::fill(t_.dv, t_.dv + keys.count() * head_.padded, 0.0f);
    for (int64_t begin = keys.begin; begin < sequence_.end; begin += query_block) {
      add_block(keys, {sequence_.first, begin, std::min(begin + query_block, sequence_.end)});
    }
    for (int64_t j = 0; j < keys.count(); ++j) {
      bf16* row = io_.dqkv_NC + (keys.begin + j) * head_.columns;
      head_.narrow(t_.dk + j * head_.padded, 1, row + head_.k(kv_head_));
      head_.narrow(t_.dv + j * head_.padded, 1, row + head_.v(kv_head_));
    }
  }

  void add_block(const Range& keys, const Range& queries) {
    const int64_t rows = head_.group * queries.count();
    const int64_t keys_padded = round_to_lanes(keys.count());
    head_.widen_group({io_.qkv_NC + head_.q(kv_head_), head_.columns, scale_}, queries, t_.q);
    head_.widen_group({io_.dout_NHK + head_.q(kv_head_), head_.outputs}, queries, t_.dout);
    tile_gemm({rows, keys_padded, head_.width, head_.padded, 1, key_block, key_block}, t_.q, t_.k_transposed, t_.p);
    tile_gemm({rows, keys_padded, head_.width, head_.padded, 1, key_block, key_block}, t_.dout, t_.v_transposed, t_.ds);
    for (int64_t row = 0; row < rows; ++row) differentiate_row(keys, queries, row);
    tile_gemm({keys.count(), head_.padded, rows, 1, key_block, head_.padded, head_.padded, Into::add}, t_.p, t_.dout, t_.dv);
    tile_gemm({keys.count(), head_.padded, rows, 1, key_block, head_.padded, head_.padded, Into::add}, t_.ds, t_.q, t_.dk);
    for (int64_t member = 0; member < head_.group; ++member) {
      const int64_t tile_row = member * queries.count() * key_block;
      float* dq = t_.dq + ((queries.begin - sequence_.begin) * head_.group + member) * head_.padded;
      tile_gemm({queries.count(), head_.padded, keys.count(), key_block, 1, head_.padded, head_.group * head_.padded, Into::add}, t_.ds + tile_row, t_.k, dq);
    }
  }

  // Scores become probabilities; dout . v becomes ds without its 1/sqrt(K), which dk finds in the scaled q and dq gets at the end.
  void differentiate_row(const Range& keys, const Range& queries, int64_t row) {
    const int64_t member = row / queries.count();
    const int64_t position = queries.begin + row % queries.count();
    const Lanes lse = splat(io_.lse_NH[position * head_.heads + kv_head_ * head_.group + member]);
    const Lanes delta = splat(t_.delta[(position - sequence_.begin) * head_.group + member]);
    const int64_t keys_padded = round_to_lanes(keys.count());
    float* p = t_.p + row * key_block;
    float* ds = t_.ds + row * key_block;
    std::fill(p + std::min(position + 1 - keys.begin, keys.count()), p + keys_padded, std::numeric_limits<float>::lowest());
    for (int64_t j = 0; j < keys_padded; j += Lanes::width) {
      const Lanes probability = exp(load(p + j) - lse);
      store(p + j, probability);
      store(ds + j, probability * (load(ds + j) - delta));
    }
  }

  const HeadLayout& head_;
  const AttentionBackward& io_;
  const BackwardScratch& t_;
  const Range sequence_;
  const int64_t kv_head_;
  const float scale_;
};

}  // namespace

Status attention_backward(const AttentionShape& shape, const AttentionBackward& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_sequences(shape, io.cu_seqlens_S1));
  if (shape.N == 0) return fine();
  const HeadLayout head(shape.heads);
  const std::vector<Range> sequences = cut_sequences(shape, io.cu_seqlens_S1, shape.N);
  int64_t longest = 0;
  for (const Range& sequence : sequences) longest = std::max(longest, sequence.count());
  const int64_t floats = BackwardScratch::floats(head, longest);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * floats * sizeof(float), &memory));
  parallel_for(static_cast<int64_t>(sequences.size()) * head.kv_heads, [&](int64_t item) {
    const BackwardScratch scratch(head, longest, static_cast<float*>(memory) + omp_get_thread_num() * floats);
    SequenceBackward(head, io, scratch, {sequences[item / head.kv_heads], item % head.kv_heads}).run();
  });
  return fine();
}

}  // namespace limbeck::cpu
