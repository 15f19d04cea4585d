// The hash that turns a string id, or the name of a feature, into a number.
//
// Thread safety: a free function; no state.
#pragma once

#include <cstdint>
#include <string_view>

namespace persia {

// Google FarmHash's Fingerprint64, which never changes: BigQuery's FARM_FINGERPRINT, Guava's farmHashFingerprint64. Of the 8
// little-endian bytes of a number it is farmhash64 of the number.
std::uint64_t fingerprint64(std::string_view text);

}  // namespace persia
