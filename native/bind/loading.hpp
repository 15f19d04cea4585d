// What all have in common who load files of rows: which rows are the shard's, and what becomes of rows that are not finite.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/rows.hpp"
#include "files/row_files.hpp"

namespace persia::bind {

inline Shard shard(std::uint32_t index, std::uint32_t count) {
    if (index < count) return {index, count};
    throw InvalidInput("expected a shard index below the shard count " + std::to_string(count) + ", got " +
                       std::to_string(index));
}

// What is found of rows that are not finite while a file is loaded, and whether the first is an error.
struct NonFiniteRows {
    bool refuse = false;
    NonFinite found;         // in the file
    std::uint64_t kept = 0;  // of the shard

    template <class Reader>
    void take(const Reader& reader, const RowBlock& block, Shard only) {
        if (block.non_finite.empty()) return;
        found = reader.non_finite();
        if (refuse) {
            throw CorruptFile(
                reader.path(),
                DecodeError("finite numbers in all rows, as non_finite_rows says `refuse`",
                            "NaN or an infinite number in the row of sign " + std::to_string(found.sign), found.byte));
        }
        for (const std::uint32_t i : block.non_finite) kept += shard_of(block.signs[i], only.count) == only.index ? 1 : 0;
    }
};

template <class Reader, class Put>
std::uint64_t put_file(Reader& reader, Shard only, NonFiniteRows* non_finite, Put put) {
    std::uint64_t kept = 0;
    for (RowBlock block; reader.next(block);) {
        if (non_finite != nullptr) non_finite->take(reader, block, only);
        kept += put(block);
    }
    return kept;
}

}  // namespace persia::bind
