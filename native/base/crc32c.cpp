#include "base/crc32c.hpp"

#include <array>

namespace persia {

namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // with its bits turned round
constexpr std::size_t kAtOnce = 8;

using Tables = std::array<std::array<std::uint32_t, 256>, kAtOnce>;

// tables[k][b]: what a byte b adds to the checksum when k more bytes follow it.
constexpr Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
        tables[0][byte] = crc;
    }
    for (std::size_t k = 1; k < kAtOnce; ++k) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t crc = tables[k - 1][byte];
            tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
        }
    }
    return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t before) {
    std::uint32_t crc = ~before;
    const auto byte_at = [&bytes](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
    for (; bytes.size() >= kAtOnce; bytes = bytes.subspan(kAtOnce)) {
        std::uint32_t next = 0;
        for (std::size_t i = 0; i < 4; ++i) next ^= kTables[7 - i][((crc >> (8 * i)) & 0xff) ^ byte_at(i)];
        for (std::size_t i = 4; i < kAtOnce; ++i) next ^= kTables[7 - i][byte_at(i)];
        crc = next;
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) crc = (crc >> 8) ^ kTables[0][(crc & 0xff) ^ byte_at(i)];
    return ~crc;
}

}  // namespace persia
