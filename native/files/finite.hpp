// Rows whose embedding has a NaN or an infinite number.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"

namespace persia {

// Whether all of `count` f32, at any alignment, are finite.
inline bool all_finite(const std::byte* values, std::size_t count) {
    // The exponent of NaN and of infinity is all ones, so that one more in its lowest bit carries into the sign.
    std::uint32_t carried = 0;
    for (std::size_t i = 0; i < count; ++i) {
        carried |= (load<std::uint32_t>(values + i * sizeof(std::uint32_t)) & 0x7fffffffU) + 0x00800000U;
    }
    return (carried >> 31) == 0;
}

// Those of a file, as far as it was read.
struct NonFinite {
    std::uint64_t rows = 0;
    std::uint64_t sign = 0;  // of the first
    std::uint64_t byte = 0;  // where its row begins
};

}  // namespace persia
