// Where the time of answered requests went, in one version of a model.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "inference/job.hpp"
#include "serving/call_counts.hpp"

namespace persia::inference {

// Thread safety: any thread may call all of it.
class LatencyHistograms {
  public:
    static const std::vector<double>& bounds();  // of its histograms: seconds

    void add(Clock::time_point arrived, Clock::time_point sent, Clock::time_point replied);

    struct Totals {
        serving::Histogram::Totals whole, queue, worker;
        double last_queue_seconds, last_worker_seconds;  // of the last request
    };
    Totals totals() const;

  private:
    serving::Histogram whole_{bounds()}, queue_{bounds()}, worker_{bounds()};
    std::atomic<std::int64_t> last_queue_{0}, last_worker_{0};  // nanoseconds
};

}  // namespace persia::inference
