// attention.cpu.cpp -- forward. One item of work is (block of queries, kv head).
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_block.h"

namespace limbeck::cpu {

Status attention_forward(const AttentionShape& shape, const AttentionForward& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_sequences(shape, io.cu_seqlens_S1));
  const HeadLayout head(shape.heads);
  const int64_t bytes = attention_block_bytes(head);
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * bytes, &memory));
  const std::vector<Range> blocks = cut_sequences(shape, io.cu_seqlens_S1, query_block);
  parallel_for(static_cast<int64_t>(blocks.size()) * head.kv_heads, [&](int64_t item) {
    const Range& queries = blocks[item / head.kv_heads];
    const int64_t kv_head = item % head.kv_heads;
    const auto rows = [&](int64_t column) { return HeadRows{io.qkv_NC + column, head.columns}; };
    attend_block(head, {rows(head.q(kv_head)), {rows(head.k(kv_head)), rows(head.v(kv_head))}, queries, queries.begin, io.out_NHK + head.q(kv_head), io.lse_NH + kv_head * head.group},
                 static_cast<char*>(memory) + omp_get_thread_num() * bytes);
  });
  return fine();
}

}  // namespace limbeck::cpu
