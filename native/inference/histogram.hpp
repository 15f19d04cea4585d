// How often a value was in which range, as Prometheus wants it.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace persia::inference {

class Histogram {
  public:
    static constexpr std::size_t kMaxBounds = 24;

    // bounds: the upper ends of the ranges, in rising order; one without an end follows. REQUIRES: at most kMaxBounds.
    explicit Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)) {}

    void observe(double value) {
        std::size_t i = 0;
        while (i < bounds_.size() && value > bounds_[i]) ++i;
        counts_[i].fetch_add(1, std::memory_order_relaxed);
        double sum = sum_.load(std::memory_order_relaxed);
        while (!sum_.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
        }
    }

    const std::vector<double>& bounds() const { return bounds_; }
    // Of each range, the one without an end last.
    std::vector<std::uint64_t> counts() const {
        std::vector<std::uint64_t> counts(bounds_.size() + 1);
        for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = counts_[i].load(std::memory_order_relaxed);
        return counts;
    }
    double sum() const { return sum_.load(std::memory_order_relaxed); }

  private:
    const std::vector<double> bounds_;
    std::array<std::atomic<std::uint64_t>, kMaxBounds + 1> counts_{};
    std::atomic<double> sum_{0};
};

}  // namespace persia::inference
