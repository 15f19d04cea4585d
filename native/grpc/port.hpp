// Ports in text.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace persia::grpc {

// Whether it is a number that a port can have. The system takes larger ones modulo 65,536.
inline bool is_port(std::string_view text) {
    constexpr std::size_t kMostDigits = 5;
    constexpr std::string_view kMost = "65535";
    if (text.empty() || text.size() > kMostDigits) return false;
    if (!std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) return false;
    return text.size() < kMost.size() || text <= kMost;
}

}  // namespace persia::grpc
