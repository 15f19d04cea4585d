// Messages for tests: written out, as they come, and spoiled.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "grpc/message.hpp"

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

// Changes messages in a few places, mostly where tags and lengths are. The seed is fixed.
class MessageMutator {
  public:
    explicit MessageMutator(std::uint64_t seed) : random_(seed) {}

    std::size_t below(std::size_t limit) { return static_cast<std::size_t>(random_() % limit); }

    Bytes spoiled(Bytes bytes) {
        for (std::size_t n = below(4); n > 0 && !bytes.empty(); --n) mutate(bytes);
        return bytes;
    }

  private:
    void mutate(Bytes& bytes) {
        const std::size_t at = below(2) == 0 ? below(std::min<std::size_t>(bytes.size(), 24)) : below(bytes.size());
        const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        const std::size_t count = std::min(bytes.size() - at, 1 + below(12));
        switch (below(7)) {
            case 0:
                bytes[at] ^= std::byte{1} << static_cast<int>(below(8));
                break;
            case 1:
                bytes[at] = static_cast<std::byte>(random_());
                break;
            case 2:
                bytes.resize(at);
                break;
            case 3:
                bytes.insert(here, 1 + below(9), static_cast<std::byte>(random_()));
                break;
            case 4:
                bytes.erase(here, here + static_cast<std::ptrdiff_t>(count));
                break;
            case 5: {  // fields, maybe, a second time
                const Bytes copy(here, here + static_cast<std::ptrdiff_t>(count));
                bytes.insert(bytes.end(), copy.begin(), copy.end());
                break;
            }
            default: {  // what varints go wrong with
                static constexpr std::string_view kEnds[] = {
                    "ffffffff0f", "ffffffffffffffffff01", "80808080808080808080", "8000", "00", "7f", "ffffffff07"};
                const Bytes varint = bytes_of_hex(kEnds[below(std::size(kEnds))]);
                bytes.insert(here, varint.begin(), varint.end());
            }
        }
    }

    std::mt19937_64 random_;
};

}  // namespace persia
