// How lookups travel over plain TCP: a header, columns, and last of these a message (docs/formats/frames.md).
//
// Thread safety: plain values.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>

namespace persia {

static_assert(std::endian::native == std::endian::little, "headers and columns are sent as they are");

constexpr std::size_t kMaxFrameColumns = 6;
constexpr char kFrameMagic[4] = {'P', 'S', 'F', '1'};

struct FrameHeader {
    char magic[4] = {kFrameMagic[0], kFrameMagic[1], kFrameMagic[2], kFrameMagic[3]};
    std::uint16_t columns = 0;  // the message included
    std::uint16_t turn = 0;
    std::uint32_t lengths[kMaxFrameColumns] = {};  // bytes; 0 beyond `columns`

    // Of a frame with so many columns. REQUIRES: kMaxFrameColumns at most.
    bool fits(std::size_t expected_columns) const {
        if (std::memcmp(magic, kFrameMagic, sizeof(magic)) != 0 || columns != expected_columns) return false;
        return std::accumulate(lengths + columns, lengths + kMaxFrameColumns, std::uint64_t{0}) == 0;
    }

    // Bytes of the whole frame.
    std::uint64_t size() const {
        return sizeof(FrameHeader) + std::accumulate(lengths, lengths + kMaxFrameColumns, std::uint64_t{0});
    }
};
static_assert(sizeof(FrameHeader) == 32);

}  // namespace persia
