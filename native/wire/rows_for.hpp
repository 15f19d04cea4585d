// The version of a dense model, as lookups name it, and the epochs that it may read.
//
// Thread safety: plain values.
#pragma once

#include <compare>
#include <cstdint>

namespace persia::wire {

// Both are fingerprints (fingerprint64) of text: the name under which the model is served, and its version.
struct DenseId {
    std::uint64_t model = 0, version = 0;  // 0 both: not said, any epoch will do

    bool is_said() const { return model != 0; }
    auto operator<=>(const DenseId&) const = default;
};

// Epochs in a row.
struct EpochRun {
    std::uint64_t first = 0, last = 0;  // 0 both: none

    bool has(std::uint64_t epoch) const { return epoch != 0 && epoch >= first && epoch <= last; }
    bool operator==(const EpochRun&) const = default;
};

}  // namespace persia::wire
