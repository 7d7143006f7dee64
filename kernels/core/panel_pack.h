// panel_pack.h -- operands brought into the order that panel_tile.h reads, on one thread.
#pragma once
#include <cstdint>
#include "core/panel_tile.h"

namespace limbeck {

constexpr int64_t line_bytes = 64;
constexpr int64_t values_a_square = 32;  // panels are packed by squares of 16 columns and 32 values, 1 KiB
constexpr int64_t lines_a_square = 16;

// Memory to fetch while packing, so many lines a square; 0 fetches none.
struct Ahead {
  const char* next;
  int64_t lines_a_square;
};

// Write one panel of B: panel_pairs(k) x panel_vectors(columns) x 32 elements, 64-byte aligned.
//   from_columns reads columns as they are stored; from_rows reads B stored [k, columns], `leading` elements between rows.
void pack_panel_from_columns(const StoredColumns& b, int64_t k, bf16* panel, Ahead ahead = {nullptr, 0});
void pack_panel_from_rows(const bf16* b, int64_t leading, int64_t k, int64_t columns, bf16* panel);

// Write TurnedRows: turned_elements(rows, k), 64-byte aligned. turn_rows reads A stored [k, rows], `leading` elements between rows of k; the other, for CPUs
// that do not multiply bf16, A as stored.
void turn_rows(const bf16* a, int64_t leading, int64_t k, int64_t rows, TurnedElement* out);
#ifndef __AVX512BF16__
void turn_stored_rows(const PanelRows& a, TurnedElement* out);
#endif

}  // namespace limbeck
