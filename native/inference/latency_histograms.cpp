#include "inference/latency_histograms.hpp"

namespace persia::inference {

namespace {

double seconds_of(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; }
double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

}  // namespace

const std::vector<double>& LatencyHistograms::bounds() {
    static const std::vector<double> seconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
    return seconds;
}

void LatencyHistograms::add(Clock::time_point arrived, Clock::time_point sent, Clock::time_point replied) {
    whole_.add(seconds_between(arrived, replied));
    queue_.add(seconds_between(arrived, sent));
    worker_.add(seconds_between(sent, replied));
    last_queue_.store(std::chrono::nanoseconds(sent - arrived).count(), std::memory_order_relaxed);
    last_worker_.store(std::chrono::nanoseconds(replied - sent).count(), std::memory_order_relaxed);
}

LatencyHistograms::Totals LatencyHistograms::totals() const {
    return {whole_.totals(), queue_.totals(), worker_.totals(), seconds_of(last_queue_.load(std::memory_order_relaxed)),
            seconds_of(last_worker_.load(std::memory_order_relaxed))};
}

}  // namespace persia::inference
