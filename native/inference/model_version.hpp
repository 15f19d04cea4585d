// One version of a model: its queue, its workers, and how batches are put together.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "inference/job_queue.hpp"
#include "inference/latency_histograms.hpp"
#include "inference/worker_link.hpp"

namespace persia::inference {

struct ModelLimits {
    std::size_t batch_size = 1;
    std::chrono::milliseconds max_batch_delay{100};  // since the first of a batch arrived
    std::size_t queue_size = 100;
    std::chrono::milliseconds client_timeout{0};  // the longest that a caller is taken to wait; 0: as long as it says
    bool only_idle = false;                       // a request is refused unless a worker is free for it
    WorkerLimits worker;
};

// Thread safety: any thread may call all of it.
class ModelVersion final : public Employer, public std::enable_shared_from_this<ModelVersion> {
  public:
    ModelVersion(std::string name, std::string version, const ModelLimits& limits, net::Reactor& reactor);

    const std::string& name() const { return name_; }
    const std::string& version() const { return version_; }
    const ModelLimits& limits() const { return limits_; }

    // The job's responder is told, now or later. Nothing is thrown.
    void submit(Job job);

    // How many workers it is to have, of which some may be on their way. 0: who waits is told that there is none.
    void expect_workers(std::size_t count);
    // So many requests may go to a worker at once, as its handler says, if they wait when it becomes free. Nothing waits for
    // others, unlike for a batch_size over 1, which goes before it.
    void set_requests_at_once(std::size_t requests);
    // Takes the socket. The worker has loaded the model.
    std::shared_ptr<WorkerLink> add_worker(int socket, pid_t process);

    // Nothing waits and nothing is worked on, or so long has passed: then false.
    bool wait_until_idle(std::chrono::milliseconds timeout) const;

    struct Counts {
        std::size_t queued, at_work, workers;  // now
        std::uint64_t refused, expired;        // since the start
    };
    Counts counts() const;
    LatencyHistograms::Totals latencies() const { return latencies_.totals(); }

  private:
    struct Round;

    void on_free(const std::shared_ptr<WorkerLink>& worker) override;
    void on_lost(const std::shared_ptr<WorkerLink>& worker) override;
    void on_unsent(std::vector<Job> jobs) override;
    void on_answered(const Job& job, Clock::time_point sent, Clock::time_point replied) override;
    void on_batch_done(const std::shared_ptr<WorkerLink>& worker, std::chrono::nanoseconds took) override;

    void hand_out();
    bool take_round(Round& round);
    std::vector<Job> take_jobs(Clock::time_point now, std::vector<Job>& expired);
    void wait_for_batch(Clock::time_point until);
    std::optional<Failure> refusal(const Job& job) const;
    Failure no_worker(const Job& job) const;

    const std::string name_, version_;
    const ModelLimits limits_;
    net::Reactor& reactor_;
    std::atomic<std::uint64_t> refused_{0}, expired_{0};
    LatencyHistograms latencies_;

    mutable std::mutex mutex_;  // over what follows
    mutable std::condition_variable changed_;
    JobQueue queue_;
    std::vector<std::shared_ptr<WorkerLink>> workers_;      // all that are not lost
    std::vector<std::shared_ptr<WorkerLink>> free_, busy_;  // of these
    std::size_t expected_workers_ = 0;
    bool waits_for_batch_ = false;
    std::size_t requests_at_once_ = 1;             // requests that a worker takes at once, beyond the batch_size
    std::chrono::nanoseconds mean_batch_time_{0};  // of late
    std::size_t last_batch_size_ = 1;              // requests, the last time
};

}  // namespace persia::inference
