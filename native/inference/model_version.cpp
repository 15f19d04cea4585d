#include "inference/model_version.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace persia::inference {

namespace {

// What requests that are taken together may have of inputs: more of them would keep each other waiting, and gain nothing
// (D-204).
constexpr std::size_t kMostBytesTogether = 4 << 20;

}  // namespace

// What is done outside of the lock.
struct ModelVersion::Round {
    std::shared_ptr<WorkerLink> worker;
    std::vector<Job> batch, expired;
};

ModelVersion::ModelVersion(std::string name, std::string version, const ModelLimits& limits, net::Reactor& reactor)
    : name_(std::move(name)), version_(std::move(version)), limits_(limits), reactor_(reactor) {}

void ModelVersion::submit(Job job) {
    std::optional<Failure> refused;
    if (job.totals) job.totals->requests.fetch_add(1, std::memory_order_relaxed);
    if (limits_.client_timeout.count() != 0) {
        const auto latest = job.arrived + limits_.client_timeout;
        job.deadline = std::min(job.deadline.value_or(latest), latest);
    }
    {
        const std::lock_guard lock(mutex_);
        refused = refusal(job);
        if (!refused) queue_.put(std::move(job));
    }
    if (refused) {
        ++refused_;
        return job.responder->on_failure(*refused);
    }
    hand_out();
}

void ModelVersion::expect_workers(std::size_t count) {
    std::vector<Job> without;
    {
        const std::lock_guard lock(mutex_);
        expected_workers_ = count;
        if (count == 0 && workers_.empty()) without = queue_.take_all();
        changed_.notify_all();
    }
    refused_ += without.size();
    for (const Job& job : without) job.responder->on_failure(no_worker(job));
}

void ModelVersion::set_requests_at_once(std::size_t requests) {
    const std::lock_guard lock(mutex_);
    requests_at_once_ = std::max<std::size_t>(1, requests);
}

std::shared_ptr<WorkerLink> ModelVersion::add_worker(int socket, pid_t process) {
    auto worker = std::make_shared<WorkerLink>(socket, process, limits_.worker, reactor_, weak_from_this());
    {
        const std::lock_guard lock(mutex_);
        workers_.push_back(worker);
    }
    worker->begin();
    on_free(worker);
    return worker;
}

bool ModelVersion::wait_until_idle(std::chrono::milliseconds timeout) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [this] { return queue_.empty() && busy_.empty(); });
}

ModelVersion::Counts ModelVersion::counts() const {
    const std::lock_guard lock(mutex_);
    return {queue_.size(), busy_.size(), workers_.size(), refused_, expired_};
}

void ModelVersion::on_free(const std::shared_ptr<WorkerLink>& worker) {
    {
        const std::lock_guard lock(mutex_);
        if (std::ranges::find(workers_, worker) == workers_.end()) return;  // it was lost meanwhile
        free_.push_back(worker);
    }
    hand_out();
}

void ModelVersion::on_lost(const std::shared_ptr<WorkerLink>& worker) {
    std::vector<Job> without;
    {
        const std::lock_guard lock(mutex_);
        std::erase(free_, worker);
        std::erase(busy_, worker);
        std::erase(workers_, worker);
        if (workers_.empty() && expected_workers_ == 0) without = queue_.take_all();
        changed_.notify_all();
    }
    refused_ += without.size();
    for (const Job& job : without) job.responder->on_failure(no_worker(job));
}

void ModelVersion::on_unsent(std::vector<Job> jobs) {
    {
        const std::lock_guard lock(mutex_);
        std::for_each(jobs.rbegin(), jobs.rend(), [this](Job& job) { queue_.put_back(std::move(job)); });
    }
    hand_out();
}

void ModelVersion::on_answered(const Job& job, Clock::time_point sent, Clock::time_point replied) {
    latencies_.add(job.arrived, sent, replied);
    if (!job.totals) return;
    const auto microseconds = [&job](Clock::time_point until) {
        return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(until - job.arrived).count());
    };
    job.totals->microseconds.fetch_add(microseconds(replied), std::memory_order_relaxed);
    job.totals->queue_microseconds.fetch_add(microseconds(sent), std::memory_order_relaxed);
}

void ModelVersion::on_batch_done(const std::shared_ptr<WorkerLink>& worker, std::chrono::nanoseconds took) {
    const std::lock_guard lock(mutex_);
    std::erase(busy_, worker);
    mean_batch_time_ = mean_batch_time_.count() == 0 ? took : (mean_batch_time_ * 7 + took) / 8;
    changed_.notify_all();
}

// Gives what waits to the workers that are free.
void ModelVersion::hand_out() {
    for (;;) {
        Round round;
        const bool more = take_round(round);
        expired_ += round.expired.size();
        for (const Job& job : round.expired) {
            job.responder->on_failure(
                {Failure::Kind::expired, 408, "the deadline passed while the request waited for a worker", {}});
        }
        if (round.worker) round.worker->send(std::move(round.batch));
        if (!more) return;
    }
}

// False: there is nothing more to give.
bool ModelVersion::take_round(Round& round) {
    const std::lock_guard lock(mutex_);
    if (free_.empty() || queue_.empty()) return false;
    const auto now = Clock::now();
    if (queue_.size() < limits_.batch_size && limits_.max_batch_delay.count() > 0) {
        const auto until = queue_.oldest() + limits_.max_batch_delay;
        if (now < until) {
            wait_for_batch(until);
            return false;
        }
    }
    round.batch = take_jobs(now, round.expired);
    if (queue_.empty()) changed_.notify_all();
    if (round.batch.empty()) return !queue_.empty();
    round.worker = std::move(free_.back());
    free_.pop_back();
    busy_.push_back(round.worker);
    return true;
}

// With the lock.
std::vector<Job> ModelVersion::take_jobs(Clock::time_point now, std::vector<Job>& expired) {
    std::vector<Job> jobs;
    if (limits_.batch_size > 1) {
        jobs = queue_.take(limits_.batch_size, std::numeric_limits<std::size_t>::max(), now, expired);
    } else {
        // Other workers become free, too, and have their share of what waits.
        const std::size_t share = (queue_.size() + workers_.size() - 1) / workers_.size();
        jobs = queue_.take(std::min(requests_at_once_, share), kMostBytesTogether, now, expired);
    }
    if (!jobs.empty()) last_batch_size_ = jobs.size();
    return jobs;
}

// With the lock.
void ModelVersion::wait_for_batch(Clock::time_point until) {
    if (std::exchange(waits_for_batch_, true)) return;
    reactor_.at(until, [weak = weak_from_this()] {
        const auto model = weak.lock();
        if (!model) return;
        {
            const std::lock_guard lock(model->mutex_);
            model->waits_for_batch_ = false;
        }
        model->hand_out();
    });
}

// With the lock. nullopt: the job may wait.
std::optional<Failure> ModelVersion::refusal(const Job& job) const {
    if (workers_.empty() && expected_workers_ == 0) return no_worker(job);
    const std::size_t batch_size = limits_.batch_size > 1 ? limits_.batch_size : last_batch_size_;
    const auto batches_before = static_cast<long>(queue_.size() / batch_size + 1);
    const auto wait = mean_batch_time_ * batches_before / static_cast<long>(std::max<std::size_t>(1, workers_.size()));
    const auto retry_after =
        std::max(std::chrono::milliseconds(1), std::chrono::duration_cast<std::chrono::milliseconds>(wait));
    if (queue_.size() >= limits_.queue_size) {
        return Failure{
            Failure::Kind::queue_full, 429,
            "the queue of the model '" + name_ + "' is full: " + std::to_string(limits_.queue_size) + " requests wait",
            retry_after};
    }
    if (limits_.only_idle && free_.size() <= queue_.size()) {
        return Failure{Failure::Kind::queue_full, 429,
                       "no worker of the model '" + name_ + "' is idle, and it takes no request that would wait", retry_after};
    }
    if (job.deadline && free_.empty() && !workers_.empty() && job.arrived + wait > *job.deadline) {
        return Failure{Failure::Kind::queue_full, 429,
                       "the request would wait for longer than its deadline allows for a worker of the model '" + name_ + "'",
                       retry_after};
    }
    return std::nullopt;
}

// In TorchServe's words.
Failure ModelVersion::no_worker(const Job& job) const {
    return {Failure::Kind::no_worker,
            503,
            "Model \"" + name_ + (job.names_version ? "\" Version " + version_ : "") +
                "\" has no worker to serve inference request. Please use scale workers API to add workers. If this is a "
                "sequence inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize",
            {}};
}

}  // namespace persia::inference
