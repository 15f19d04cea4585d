// How a row's numbers lie in memory: as they came (f32), or smaller. Sums are always accumulated in f32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/rows.hpp"

namespace persia {

enum class RowStorage : std::uint8_t {
    f32,    // 4 bytes a number
    f16,    // 2 bytes a number, saturating
    int8,   // 1 byte a number, and one f32 scale a row: the row's largest magnitude / 127
    uint8,  // 1 byte a number, and a f32 scale and bias a row, as FBGEMM quantises rows; those that it has quantised exactly
};

RowStorage row_storage_named(std::string_view name);  // "f32", "f16", "int8" or "uint8"; else InvalidInput

constexpr std::size_t row_bytes(RowStorage storage, std::uint32_t dim) {
    switch (storage) {
        case RowStorage::f16:
            return std::size_t{dim} * 2;
        case RowStorage::int8:
            return std::size_t{dim} + sizeof(float);
        case RowStorage::uint8:
            return std::size_t{dim} + 2 * sizeof(float);
        default:
            return std::size_t{dim} * 4;
    }
}

// values: dim little-endian f32 at any alignment -> row: row_bytes(storage, dim). In int8, NaN becomes 0; in uint8
// the number of the row that is next to 0. Where the numbers of a row are so far apart that f32 does not hold their
// difference, those beyond 2^126 become 2^126 in uint8, and those below -2^126 become that.
void store_row(RowStorage storage, const std::byte* values, std::uint32_t dim, std::byte* row);

// row -> out (dim)
void load_row(RowStorage storage, const std::byte* row, std::uint32_t dim, float* out);

// Of rows (rows, dim): in how many a number comes out as another one.
std::size_t count_inexact(RowStorage storage, const std::byte* values, std::size_t rows, std::uint32_t dim);

// sum (dim) += row. For any dim; row_use.cpp has faster ways for f32 rows of the common dims.
void add_row(RowStorage storage, const std::byte* row, std::uint32_t dim, float* sum);

}  // namespace persia
