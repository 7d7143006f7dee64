// bind_rows.cpp -- moving whole rows: picking, putting back, and filling the key and value caches.
#include "binding/call.h"
#include "ops/kv_write.h"
#include "ops/rows.h"

namespace limbeck {
namespace {

Status check_row_dtypes(const AnyTensor& x, const AnyTensor& out) {
  if (x.dtype != out.dtype) {
    return refuse(Code::bad_dtype, std::string("rows of ") + dtype_name(x.dtype) + " do not go into a tensor of " + dtype_name(out.dtype));
  }
  return x.dtype == DType::i32 ? refuse(Code::bad_dtype, "rows are i32; they must be bf16 or f32") : fine();
}

RowsShape rows_shape(const Call& call, DType dtype) {
  return {call.extent('N'), call.extent('R'), call.extent('D'), dtype == DType::bf16 ? RowElement::bf16 : RowElement::f32};
}

Status gather_rows(Call& call) {
  const AnyTensor x_ND = call.any_tensor("x_ND", "ND");
  const int32_t* rows_R = call.tensor<int32_t>("rows_R", "R");
  const AnyTensor out_RD = call.any_tensor("out_RD", "RD");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_row_dtypes(x_ND, out_RD));
  return cpu::gather_rows(rows_shape(call, x_ND.dtype), {x_ND.data, rows_R, out_RD.data});
}

Status scatter_rows(Call& call) {
  const AnyTensor x_RD = call.any_tensor("x_RD", "RD");
  const int32_t* rows_R = call.tensor<int32_t>("rows_R", "R");
  const AnyTensor out_ND = call.any_tensor("out_ND", "ND");
  LIMBECK_TRY(call.check());
  LIMBECK_TRY(check_row_dtypes(x_RD, out_ND));
  return cpu::scatter_rows(rows_shape(call, x_RD.dtype), {x_RD.data, rows_R, out_ND.data});
}

Status kv_write(Call& call) {
  KvWrite io;
  io.qkv_NC = call.tensor<bf16>("qkv_NC", "NC");
  io.slots_N = call.tensor<int32_t>("slots_N", "N");
  io.positions_N = call.tensor<int32_t>("positions_N", "N");
  const int32_t* pages_BM = call.tensor<int32_t>("pages_BM", "BM");
  const int64_t kv_heads = call.integer("kvHeads", 1, 1 << 20);
  io.k_cache = call.tensor<bf16>("kCache", "PE");
  io.v_cache = call.tensor<bf16>("vCache", "PE");
  LIMBECK_TRY(call.check());
  const int64_t columns = call.extent('C');
  const int64_t width = call.extent('E') / page_positions;
  const int64_t query_columns = columns - 2 * width;
  if (width == 0 || call.extent('E') % page_positions != 0 || width % kv_heads != 0 || query_columns <= 0 || query_columns % width != 0) {
    return call.bad_shape("qkv_NC has " + std::to_string(columns) + " columns and a page of kCache " + std::to_string(call.extent('E')) + " elements; columns must be " +
                          "(heads + 2 kvHeads) K and a page " + std::to_string(page_positions) + " kvHeads K, with heads a multiple of kvHeads = " + std::to_string(kv_heads));
  }
  return cpu::kv_write({call.extent('N'), columns, {pages_BM, call.extent('B'), call.extent('M'), call.extent('P'), kv_heads, width / kv_heads}}, io);
}

const Group group({{"gatherRows", 3, gather_rows}, {"scatterRows", 3, scatter_rows}, {"kvWrite", 7, kv_write}});

}  // namespace
}  // namespace limbeck
