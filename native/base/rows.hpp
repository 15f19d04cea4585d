// Rows on their way from a file to a table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace persia {

constexpr std::uint32_t kMaxDim = 65'535;

// Up to a few thousand rows, column by column. values[i] points at dims[i] little-endian f32 in the producer's buffer, at any
// alignment, and stays valid until the producer's next call.
struct RowBlock {
    std::vector<std::uint64_t> signs;       // (n)
    std::vector<std::uint32_t> dims;        // (n)
    std::vector<const std::byte*> values;   // (n)
    std::vector<std::uint32_t> non_finite;  // places of rows with a NaN or an infinite number, ascending; most often none
    std::vector<std::uint8_t> recency;      // (n) 0 the least recently used quarter .. 3 the most; empty: not known

    std::size_t size() const { return signs.size(); }
    void clear() {
        signs.clear();
        dims.clear();
        values.clear();
        recency.clear();
        non_finite.clear();
    }
};

// Which rows a server keeps: those whose farmhash64(sign) % count == index. {0, 1} keeps all.
struct Shard {
    std::uint32_t index = 0;
    std::uint32_t count = 1;
};

}  // namespace persia
