#include "serving/call_counts.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace persia::serving {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

double seconds_since(grpc::Clock::time_point began) {
    return std::chrono::duration<double>(grpc::Clock::now() - began).count();
}

Histogram::Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), within_(bounds_.size() + 1) {}

void Histogram::add(double seconds) {
    const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), seconds);
    within_[static_cast<std::size_t>(bound - bounds_.begin())].fetch_add(1, kRelaxed);
    nanoseconds_.fetch_add(static_cast<std::uint64_t>(std::max(seconds, 0.0) * 1e9), kRelaxed);
}

Histogram::Totals Histogram::totals() const {
    Totals totals;
    totals.nanoseconds = nanoseconds_.load(kRelaxed);
    for (std::size_t i = 0; i < bounds_.size(); ++i) totals.within.push_back(within_[i].load(kRelaxed));
    totals.beyond = within_.back().load(kRelaxed);
    return totals;
}

void CallCounts::add(grpc::Code how, grpc::Clock::time_point began) {
    by_code_[static_cast<std::size_t>(how)].fetch_add(1, kRelaxed);
    seconds_.add(seconds_since(began));
}

CallCounts::Totals CallCounts::totals() const {
    Totals totals{seconds_.totals(), {}, dropped_.load(kRelaxed)};
    for (std::size_t i = 0; i < kCodes; ++i) totals.by_code[i] = by_code_[i].load(kRelaxed);
    return totals;
}

}  // namespace persia::serving
