// attention_backward.cpu.cpp -- one item of work is (sequence, kv head). Queries and their gradients are laid out once as operands; then it walks blocks
//   of keys, and for each the blocks of queries at or after it: dk and dv of the block stay in cache while dq of the whole sequence gathers in scratch.
//   Every sum has one fixed order. Probabilities and ds are rounded to TileElement for the three products that read them.
//   With few kv heads a long sequence has too few items to keep threads busy: its keys are then cut into parts, an item each, whose dq are added in order.
#include <algorithm>
#include <cmath>
#include "core/lanes.h"
#include "core/parallel.h"
#include "core/workspace.h"
#include "ops/attention.h"
#include "ops/attention_tiles.h"

namespace limbeck::cpu {

namespace {

constexpr float past_every_score = 1e30f;  // as a log-sum-exp: its column has no probability

// One thread's memory, cut into parts of whole cache lines.
class Cutter {
 public:
  explicit Cutter(char* memory) : at_(memory) {}
  template <typename T>
  T* cut(int64_t count) {
    T* part = reinterpret_cast<T*>(at_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return part;
  }
  int64_t used() const { return used_; }

 private:
  char* at_;
  int64_t used_ = 0;
};

// Of a whole sequence, blocks of queries one behind the other: `across` and `along` as operand B with the head's width and the queries as depth.
struct QueryOperands {
  TileElement *q_across, *q_along, *dout_across, *dout_along;
  float *dq, *lse, *delta, *position;
};

struct BackwardScratch {
  QueryOperands sequence;
  TileElement *rows, *k, *k_turned, *v, *p, *ds, *ds_along;
  float *scores, *dp, *dk, *dv;
  int64_t bytes;
  BackwardScratch(const HeadLayout& head, int64_t longest, char* memory) {
    Cutter cutter(memory);
    const int64_t columns = head.group * round_to_lanes(longest);
    for (TileElement** part : {&sequence.q_across, &sequence.q_along, &sequence.dout_across, &sequence.dout_along}) {
      *part = cutter.cut<TileElement>(columns * head.padded);
    }
    sequence.dq = cutter.cut<float>(columns * head.padded);
    for (float** part : {&sequence.lse, &sequence.delta, &sequence.position}) *part = cutter.cut<float>(columns);
    rows = cutter.cut<TileElement>(head.most_queries() * head.padded);
    for (TileElement** part : {&k, &k_turned, &v}) *part = cutter.cut<TileElement>(key_block * head.padded);
    for (TileElement** part : {&p, &ds, &ds_along}) *part = cutter.cut<TileElement>(key_block * head.most_queries());
    for (float** part : {&scores, &dp}) *part = cutter.cut<float>(key_block * head.most_queries());
    for (float** part : {&dk, &dv}) *part = cutter.cut<float>(key_block * head.padded);
    bytes = cutter.used();
  }
};

// The keys of one sequence and kv head, or a part of them; queries before the first key have nothing to do with them.
struct Item {
  Range sequence;
  Range keys;
  int64_t kv_head;
};

class SequenceBackward {
 public:
  SequenceBackward(const HeadLayout& head, const AttentionBackward& io, const BackwardScratch& scratch, const Item& item)
      : head_(head), io_(io), t_(scratch), sequence_(item.sequence), keys_(item.keys), kv_head_(item.kv_head) {}

  // Writes dk and dv of the keys, and leaves what they add to dq in the scratch.
  void run() {
    each_queries(keys_.begin, [&](const Range& queries) { lay_out(queries); });
    for (int64_t begin = keys_.begin; begin < keys_.end; begin += key_block) {
      walk_queries({sequence_.first, begin, std::min(begin + key_block, keys_.end)});
    }
  }

  // When the keys are the whole sequence's.
  void write_queries() const {
    each_queries(sequence_.begin, [&](const Range& queries) {
      head_.write_group(at(queries).dq, queries, head_.scale, io_.dqkv_NC + head_.q(kv_head_), head_.columns);
    });
  }

 private:
  template <typename Body>
  void each_queries(int64_t begin, const Body& body) const {
    for (; begin < sequence_.end; begin += query_block) body(Range{sequence_.first, begin, std::min(begin + query_block, sequence_.end)});
  }

  // The block's part of what belongs to the whole sequence; every block before it is full.
  QueryOperands at(const Range& queries) const {
    const int64_t column = (queries.begin - sequence_.begin) * head_.group;
    const int64_t element = column * head_.padded;
    const QueryOperands& all = t_.sequence;
    return {all.q_across + element, all.q_along + element, all.dout_across + element, all.dout_along + element,
            all.dq + element,       all.lse + column,      all.delta + column,        all.position + column};
  }

  void lay_out(const Range& queries) {
    const QueryOperands to = at(queries);
    const int64_t columns = head_.query_columns(queries);
    head_.copy_group({io_.qkv_NC + head_.q(kv_head_), head_.columns}, queries, t_.rows);
    head_.pack_across(t_.rows, columns, to.q_across);
    head_.pack_along(t_.rows, columns, to.q_along);
    head_.copy_group({io_.dout_NHK + head_.q(kv_head_), head_.outputs}, queries, t_.rows);
    head_.pack_across(t_.rows, columns, to.dout_across);
    head_.pack_along(t_.rows, columns, to.dout_along);
    std::fill(to.dq, to.dq + columns * head_.padded, 0.0f);
    std::fill(to.lse, to.lse + columns, past_every_score);
    std::fill(to.delta, to.delta + columns, 0.0f);
    for (int64_t member = 0; member < head_.group; ++member) {
      for (int64_t i = 0; i < queries.count(); ++i) {
        const int64_t column = member * (columns / head_.group) + i;
        const int64_t n = queries.begin + i;
        const int64_t element = n * head_.outputs + head_.q(kv_head_) + member * head_.width;
        to.lse[column] = io_.lse_NH[n * head_.heads + kv_head_ * head_.group + member];
        to.delta[column] = dot(io_.out_NHK + element, io_.dout_NHK + element);
        to.position[column] = static_cast<float>(n - sequence_.first);
      }
    }
  }

  float dot(const bf16* a, const bf16* b) const {
    Lanes sum = splat(0);
    for_lanes(head_.width, [&](int64_t d, int64_t count) { sum = multiply_add(load_first(a + d, count), load_first(b + d, count), sum); });
    return reduce_add(sum);
  }

  void walk_queries(const Range& keys) {
    const int64_t rows = (keys.count() + tile_depth - 1) / tile_depth * tile_depth;
    head_.copy_rows({io_.qkv_NC + head_.k(kv_head_), head_.columns}, keys, rows, t_.k);
    head_.copy_rows({io_.qkv_NC + head_.v(kv_head_), head_.columns}, keys, rows, t_.v);
    for (int64_t j = 0; j < rows; ++j) {
      for (int64_t d = 0; d < head_.width; ++d) t_.k_turned[d * key_block + j] = t_.k[j * head_.padded + d];
    }
    std::fill(t_.dk, t_.dk + keys.count() * head_.padded, 0.0f);
    std::fill(t_.dv, t_.dv + keys.count() * head_.padded, 0.0f);
    each_queries(keys.begin, [&](const Range& queries) { add_block({keys.first, keys.begin, std::min(keys.end, queries.end)}, queries); });
    for (int64_t j = 0; j < keys.count(); ++j) {
      bf16* row = io_.dqkv_NC + (keys.begin + j) * head_.columns;
      write_row(t_.dk + j * head_.padded, head_.scale, row + head_.k(kv_head_));
      write_row(t_.dv + j * head_.padded, 1, row + head_.v(kv_head_));
    }
  }

  void write_row(const float* from, float factor, bf16* to) const {
    for_lanes(head_.width, [&](int64_t d, int64_t count) { store_first(to + d, count, load(from + d) * splat(factor)); });
  }

  void add_block(const Range& keys, const Range& queries) {
    const QueryOperands q = at(queries);
    const int64_t columns = head_.query_columns(queries);
    const int64_t rows = (keys.count() + tile_depth - 1) / tile_depth * tile_depth;
    unit_product({rows, columns, head_.depth, head_.padded, columns, columns}, t_.k, q.q_across, t_.scores);
    unit_product({rows, columns, head_.depth, head_.padded, columns, columns}, t_.v, q.dout_across, t_.dp);
    const bool is_diagonal = keys.begin + rows > queries.begin + 1;
    for (int64_t column = 0; column < columns; column += Lanes::width) {
      if (is_diagonal) differentiate_lanes<true>(keys, q, {rows, columns, column});
      else differentiate_lanes<false>(keys, q, {rows, columns, column});
    }
    unit_product({keys.count(), head_.padded, columns, columns, head_.padded, head_.padded, Into::add}, t_.p, q.dout_along, t_.dv);
    unit_product({keys.count(), head_.padded, columns, columns, head_.padded, head_.padded, Into::add}, t_.ds, q.q_along, t_.dk);
    unit_product({head_.width, columns, rows, key_block, columns, columns, Into::add}, t_.k_turned, t_.ds_along, q.dq);
  }

  struct Place {
    int64_t rows, columns, column;
  };

  // Scores become probabilities; dout . v becomes ds without its 1 / sqrt(K), which dk and dq get at the end.
  template <bool is_diagonal>
  void differentiate_lanes(const Range& keys, const QueryOperands& q, const Place& place) {
    const Lanes scale = splat(head_.scale);
    const Lanes shift = splat(0) - load(q.lse + place.column);
    const Lanes delta = load(q.delta + place.column);
    const Lanes position = load(q.position + place.column);
    for (int64_t j = 0; j < place.rows; j += tile_depth) {
      Lanes p[tile_depth], ds[tile_depth];
      for (int64_t i = 0; i < tile_depth; ++i) {
        const int64_t at = (j + i) * place.columns + place.column;
        p[i] = exp(multiply_add(load(t_.scores + at), scale, shift));
        if constexpr (is_diagonal) p[i] = where_at_least(position, static_cast<float>(keys.begin + j + i - keys.first), p[i], splat(0));
        ds[i] = p[i] * (load(t_.dp + at) - delta);
      }
      const int64_t row = j * place.columns + place.column;
      store_tile_rows(p, t_.p + row, place.columns, nullptr);
      store_tile_rows(ds, t_.ds + row, place.columns, t_.ds_along + j * place.columns + place.column * tile_depth);
    }
  }

  const HeadLayout& head_;
  const AttentionBackward& io_;
  const BackwardScratch& t_;
  const Range sequence_;
  const Range keys_;
  const int64_t kv_head_;
};

constexpr int64_t shortest_part = 1024;  // keys, whole blocks; shorter parts would lay out their queries more often than it pays
constexpr int64_t wanted_items = 8;      // a sequence; fixed, so that bits depend on the shape alone

int64_t parts_of(const HeadLayout& head, const Range& sequence) {
  return std::max<int64_t>(1, std::min(sequence.count() / shortest_part, (wanted_items + head.kv_heads - 1) / head.kv_heads));
}

int64_t dq_floats(const HeadLayout& head, const Range& sequence) { return head.group * round_to_lanes(sequence.count()) * head.padded; }

// The keys of part `part` of `parts`: equal shares of whole blocks.
Range part_at(const Range& sequence, int64_t part, int64_t parts) {
  const int64_t blocks = (sequence.count() + key_block - 1) / key_block;
  const auto edge = [&](int64_t index) { return std::min(sequence.begin + blocks * index / parts * key_block, sequence.end); };
  return {sequence.first, edge(part), edge(part + 1)};
}

// One long sequence. The parts' dq live side by side until all are there.
class LongSequence {
 public:
  LongSequence(const HeadLayout& head, const AttentionBackward& io, const Range& sequence)
      : head_(head), io_(io), sequence_(sequence), parts_(parts_of(head, sequence)), floats_(dq_floats(head, sequence)) {}

  int64_t bytes() const { return parts_ * head_.kv_heads * floats_ * static_cast<int64_t>(sizeof(float)); }

  // The parts with the most queries come first.
  template <typename ScratchOfThread>
  void run(float* dq, const ScratchOfThread& scratch_of_thread) const {
    parallel_for(parts_ * head_.kv_heads, [&](int64_t item) {
      BackwardScratch scratch = scratch_of_thread();
      scratch.sequence.dq = dq + item * floats_;
      SequenceBackward(head_, io_, scratch, {sequence_, part_at(sequence_, item / head_.kv_heads, parts_), item % head_.kv_heads}).run();
    });
    const int64_t blocks = (sequence_.count() + query_block - 1) / query_block;
    parallel_for(blocks * head_.kv_heads, [&](int64_t item) { add_parts(dq, item / head_.kv_heads, item % head_.kv_heads); });
  }

 private:
  void add_parts(float* dq, int64_t block, int64_t kv_head) const {
    const int64_t begin = sequence_.begin + block * query_block;
    const Range queries{sequence_.first, begin, std::min(begin + query_block, sequence_.end)};
    const int64_t offset = block * query_block * head_.group * head_.padded;
    float* sum = dq + kv_head * floats_ + offset;
    for (int64_t part = 1; part < parts_ && part_at(sequence_, part, parts_).begin <= begin; ++part) {
      const float* more = dq + (part * head_.kv_heads + kv_head) * floats_ + offset;
      for_lanes(head_.query_columns(queries) * head_.padded, [&](int64_t i, int64_t) { store(sum + i, load(sum + i) + load(more + i)); });
    }
    head_.write_group(sum, queries, head_.scale, io_.dqkv_NC + head_.q(kv_head), head_.columns);
  }

  const HeadLayout& head_;
  const AttentionBackward& io_;
  const Range sequence_;
  const int64_t parts_;
  const int64_t floats_;
};

}  // namespace

Status attention_backward(const AttentionShape& shape, const AttentionBackward& io) {
  LIMBECK_TRY(check_heads(shape.heads));
  LIMBECK_TRY(check_sequences(shape, io.cu_seqlens_S1));
  if (shape.N == 0) return fine();
  const HeadLayout head(shape.heads);
  std::vector<Range> whole, cut;
  int64_t longest = 0;
  int64_t parts_bytes = 0;
  for (const Range& sequence : cut_sequences(shape, io.cu_seqlens_S1, shape.N)) {
    longest = std::max(longest, sequence.count());
    (parts_of(head, sequence) == 1 ? whole : cut).push_back(sequence);
    if (parts_of(head, sequence) > 1) parts_bytes = std::max(parts_bytes, LongSequence(head, io, sequence).bytes());
  }
  const int64_t bytes = BackwardScratch(head, longest, nullptr).bytes;
  void* memory = nullptr;
  LIMBECK_TRY(workspace(thread_count() * bytes + parts_bytes, &memory));
  const auto scratch_of_thread = [&] { return BackwardScratch(head, longest, static_cast<char*>(memory) + omp_get_thread_num() * bytes); };
  float* parts_dq = reinterpret_cast<float*>(static_cast<char*>(memory) + thread_count() * bytes);
  for (const Range& sequence : cut) LongSequence(head, io, sequence).run(parts_dq, scratch_of_thread);
  parallel_for(static_cast<int64_t>(whole.size()) * head.kv_heads, [&](int64_t item) {
    const BackwardScratch scratch = scratch_of_thread();
    const Range& sequence = whole[item / head.kv_heads];
    SequenceBackward backward(head, io, scratch, {sequence, sequence, item % head.kv_heads});
    backward.run();
    backward.write_queries();
  });
  return fine();
}

}  // namespace limbeck::cpu
