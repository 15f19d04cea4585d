// Seconds as Python counts them.
#pragma once

#include <algorithm>
#include <chrono>

#include "grpc/metadata.hpp"

namespace persia::bind {

inline grpc::Clock::duration duration_of(double seconds) {
    constexpr double kLongestSeconds = 1e8;
    return std::chrono::duration_cast<grpc::Clock::duration>(
        std::chrono::duration<double>(std::clamp(seconds, 0.0, kLongestSeconds)));
}

inline std::chrono::milliseconds milliseconds_of(double seconds) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration_of(seconds));
}

// As time.monotonic() has it.
inline double seconds_of(grpc::Clock::time_point time) {
    return std::chrono::duration<double>(time.time_since_epoch()).count();
}

}  // namespace persia::bind
