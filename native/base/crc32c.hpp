// The checksum that TensorFlow has in its files.
//
// Thread safety: a free function; no state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace persia {

// CRC-32C (Castagnoli) of the bytes, which follow others whose checksum is `before`; 0 where none come before.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before = 0);

}  // namespace persia
