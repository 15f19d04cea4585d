// What is counted of requests: by model and version as they were asked for, by the version that answered, and by outcome.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "inference/job.hpp"
#include "serving/call_counts.hpp"

namespace persia::inference {

// Where the time of answered requests went, in one version of a model. Thread safety: any thread may call all of it.
class VersionFigures {
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
