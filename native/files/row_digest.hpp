// A digest of rows that does not depend on their order: two sums, modulo 2^64, of hashes over each sign with all bytes of its
// row.
//
// Errors: those of the readers (row_files.hpp).
// Thread safety: none per object; different objects are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace persia {

struct RowDigest {
    std::uint64_t rows = 0;
    std::uint64_t sums[2] = {};

    // `values` are the little-endian f32 of a row.
    void add(std::uint64_t sign, std::span<const std::byte> values);
};

struct FileDigest {
    std::vector<std::uint64_t> signs;                     // (n), in the order of the file
    std::unordered_map<std::uint64_t, RowDigest> groups;  // by prefix
};

// Of a checkpoint file, all of which is read. The upper `prefix_bits` (1 to 63) of a sign are its prefix.
FileDigest digest_of_file(const std::string& path, unsigned prefix_bits);

}  // namespace persia
