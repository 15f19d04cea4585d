// How the calls of a method ended, and how long they took, since the start.
//
// Thread safety: any thread may call all of it. Each figure stands for itself.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "grpc/metadata.hpp"
#include "grpc/status.hpp"

namespace persia::serving {

constexpr std::size_t kCodes = 17;

// Of durations.
class Histogram {
  public:
    // bounds: seconds, ascending.
    explicit Histogram(std::vector<double> bounds);

    void add(double seconds);

    struct Totals {
        std::uint64_t nanoseconds = 0;      // of all together
        std::vector<std::uint64_t> within;  // how many took at most each of the bounds, and more than the one before
        std::uint64_t beyond = 0;           // and how many more than all of them
    };
    Totals totals() const;

  private:
    const std::vector<double> bounds_;
    std::vector<std::atomic<std::uint64_t>> within_;  // one more than bounds: beyond
    std::atomic<std::uint64_t> nanoseconds_{0};
};

class CallCounts {
  public:
    explicit CallCounts(std::vector<double> bounds) : seconds_(std::move(bounds)) {}

    // A call that was answered or refused, and began then.
    void add(grpc::Code how, grpc::Clock::time_point began);
    // One that nobody waited for any more.
    void add_dropped() { dropped_.fetch_add(1, std::memory_order_relaxed); }

    struct Totals {
        Histogram::Totals seconds;  // of those that failed as well
        std::array<std::uint64_t, kCodes> by_code = {};
        std::uint64_t dropped = 0;
    };
    Totals totals() const;

  private:
    Histogram seconds_;
    std::array<std::atomic<std::uint64_t>, kCodes> by_code_{};
    std::atomic<std::uint64_t> dropped_{0};
};

double seconds_since(grpc::Clock::time_point began);

}  // namespace persia::serving
