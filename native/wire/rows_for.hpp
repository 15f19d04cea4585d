// Whom the rows of a lookup are for, as lookups say it, and the epochs that these may be of.
//
// Thread safety: plain values.
#pragma once

#include <compare>
#include <cstdint>

namespace persia::wire {

// All are fingerprints (fingerprint64) of text: the name under which a dense model is served, its version, and the name of a
// variant of the rows.
struct RowsFor {
    std::uint64_t model = 0, version = 0;  // 0 both: not said, any version will do
    std::uint64_t variant = 0;             // 0: none, the rows that all variants share

    bool is_said() const { return model != 0 || variant != 0; }
    RowsFor without_variant() const { return {model, version, 0}; }
    auto operator<=>(const RowsFor&) const = default;
};

// Epochs in a row.
struct EpochRun {
    std::uint64_t first = 0, last = 0;  // 0 both: none

    bool has(std::uint64_t epoch) const { return epoch != 0 && epoch >= first && epoch <= last; }
    bool operator==(const EpochRun&) const = default;
};

}  // namespace persia::wire
