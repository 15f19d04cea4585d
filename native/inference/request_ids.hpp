// Ids of requests: UUIDs of version 4, as TorchServe gives them.
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace persia::inference {

inline std::string new_request_id() {
    thread_local std::mt19937_64 random{(std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
    std::uint64_t halves[2] = {random(), random()};
    halves[0] = (halves[0] & ~0xf000ULL) | 0x4000;           // the version
    halves[1] = (halves[1] & ~(3ULL << 62)) | (2ULL << 62);  // the variant
    constexpr char kDigits[] = "0123456789abcdef";
    std::string id;
    id.reserve(36);
    for (int digit = 0; digit < 32; ++digit) {
        if (digit == 8 || digit == 12 || digit == 16 || digit == 20) id += '-';
        id += kDigits[halves[digit / 16] >> (60 - 4 * (digit % 16)) & 15];
    }
    return id;
}

}  // namespace persia::inference
