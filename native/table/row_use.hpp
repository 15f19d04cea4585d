// What becomes of rows that a lookup has found: copies, sums, halves. A row that is null counts as zeros.
//
// Thread safety: plain functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "table/row_storage.hpp"

namespace persia {

using FoundRows = std::span<const std::byte* const>;

// rows (n) -> out (n, dim).
void copy_rows(RowStorage storage, std::uint32_t dim, FoundRows rows, float* out);

// rows (n) -> out (n, dim) in f16: each as the sum of this row alone would be, so -0.0 becomes 0.0. scratch: memory that is
// kept from one call to the next.
void copy_halves(RowStorage storage, std::uint32_t dim, FoundRows rows, std::uint16_t* out, std::vector<float>& scratch);

// rows (n), counts (n), samples -> sums (k, dim): rows[i] is added to sums[s] for each s of the next counts[i] samples. Returns
// the end of the samples that it used. REQUIRES: every sample < k.
const std::uint16_t* add_rows(RowStorage storage, std::uint32_t dim, FoundRows rows, const std::uint32_t* counts,
                              const std::uint16_t* samples, float* sums);

}  // namespace persia
