// Messages for tests: written out, as they come, and spoiled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/message.hpp"
#include "spoiling.hpp"

namespace persia {

using Bytes = std::vector<std::byte>;

inline Bytes bytes_of_hex(std::string_view hex) {
    const auto digit = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
    Bytes bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        while (hex[i] == ' ') ++i;
        bytes.push_back(static_cast<std::byte>(digit(hex[i]) << 4 | digit(hex[i + 1])));
    }
    return bytes;
}

inline Bytes joined(const grpc::OutgoingMessage& message) {
    Bytes bytes;
    for (const auto& piece : message.pieces()) bytes.insert(bytes.end(), piece.bytes.begin(), piece.bytes.end());
    return bytes;
}

inline Bytes joined(std::initializer_list<Bytes> parts) {
    Bytes bytes;
    for (const Bytes& part : parts) bytes.insert(bytes.end(), part.begin(), part.end());
    return bytes;
}

// As a connection hands it over.
inline grpc::ReceivedMessage received(std::span<const std::byte> bytes) {
    auto* memory = static_cast<std::byte*>(std::malloc(bytes.size() + 1));
    if (!bytes.empty()) std::memcpy(memory, bytes.data(), bytes.size());
    return {memory, bytes.size(), {}};
}

// The same bytes so far beyond an aligned place, and not a byte more for whoever reads too far.
class Shifted {
  public:
    Shifted(std::span<const std::byte> bytes, std::size_t by) : memory_(by + bytes.size()), by_(by) {
        std::copy(bytes.begin(), bytes.end(), memory_.begin() + static_cast<std::ptrdiff_t>(by));
    }
    std::span<const std::byte> bytes() const { return std::span(memory_).subspan(by_); }

  private:
    Bytes memory_;
    std::size_t by_;
};

// Changes messages in a few places, mostly where tags and lengths are.
class MessageMutator : public Spoiler {
  public:
    using Spoiler::Spoiler;

    Bytes spoiled(Bytes bytes) {
        for (std::size_t n = below(4); n > 0 && !bytes.empty(); --n) mutate(bytes);
        return bytes;
    }

  private:
    void mutate(Bytes& bytes) {
        const std::size_t at = below(below(2) == 0 ? std::min<std::size_t>(bytes.size(), 24) : bytes.size());
        const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        switch (below(7)) {
            case 0: {  // fields, maybe, a second time
                const Bytes copy(here, here + static_cast<std::ptrdiff_t>(std::min(bytes.size() - at, 1 + below(12))));
                bytes.insert(bytes.end(), copy.begin(), copy.end());
                break;
            }
            case 1: {  // what varints go wrong with
                static constexpr std::string_view kEnds[] = {
                    "ffffffff0f", "ffffffffffffffffff01", "80808080808080808080", "8000", "00", "7f", "ffffffff07"};
                const Bytes varint = bytes_of_hex(kEnds[below(std::size(kEnds))]);
                bytes.insert(here, varint.begin(), varint.end());
                break;
            }
            default:
                spoil(bytes, at);
        }
    }
};

}  // namespace persia
