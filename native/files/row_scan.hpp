// What the rows of a file belong to, counted in one pass, and the rows of some wanted signs beside: for a check before serving.
//
// Errors: those of the readers (row_files.hpp).
// Thread safety: none per object; different objects are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/rows.hpp"

namespace persia {

// Rows of one dim whose signs have the prefix of one group.
struct GroupCount {
    std::uint64_t group = 0;  // as RowScan counts groups
    std::uint32_t dim = 0;
    std::uint64_t rows = 0;
    std::uint64_t non_finite = 0;  // of these rows: with a NaN or an infinite number
    std::uint64_t largest = 0;     // of the signs without their prefix: what the largest id has become
};

class RowScan {
  public:
    // The upper `prefix_bits` of a sign are its group, from 1 to `groups`; 0 is no prefix, and groups + 1 any larger one.
    // `wanted` are distinct signs in ascending order.
    RowScan(unsigned prefix_bits, std::uint64_t groups, std::vector<std::uint64_t> wanted);

    void add(const RowBlock& block);

    std::uint64_t rows() const { return rows_; }
    std::vector<GroupCount> counts() const;

    // The rows of wanted signs, one after the other; values[i] has dims[i] numbers.
    std::vector<std::uint64_t> signs;
    std::vector<std::uint32_t> dims;
    std::vector<float> values;

    // The first kStrays signs that are in none of the groups 1 to `groups`.
    static constexpr std::size_t kStrays = 256;
    std::vector<std::uint64_t> strays;

  private:
    GroupCount& count_of(std::uint64_t sign, std::uint32_t dim);
    bool wants(std::uint64_t sign) const;

    unsigned shift_;
    std::uint64_t groups_;
    std::vector<std::uint64_t> wanted_;
    std::vector<std::uint64_t> filter_;  // bits: of most signs that are not wanted one look says so
    unsigned filter_shift_ = 0;
    std::vector<std::vector<GroupCount>> by_group_;
    std::uint64_t rows_ = 0;
};

enum class RowFile { checkpoint, packet };

// Adds the rows of a file, until its end or until `seconds` are over: returns whether it came to the end.
bool scan_file(const std::string& path, RowFile kind, double seconds, RowScan& scan);

}  // namespace persia
