// A request that waits for a handler's answer, and who gets that answer.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inference/worker_frames.hpp"

namespace persia::inference {

using Clock = std::chrono::steady_clock;

// Why there is no answer.
struct Failure {
    enum class Kind {
        no_worker,   // the model has none, and gets none
        queue_full,  // or the answer would come after the deadline: better tried again later, or elsewhere
        expired,     // the deadline passed while it waited
        worker_died,
        handler,  // by what the worker said: `status` is its code
    };

    Kind kind = Kind::handler;
    int status = 500;  // HTTP's
    std::string message;
    std::chrono::milliseconds retry_after{0};  // of queue_full: when there may be room
};

// Who waits for the answer of a job. Thread safety: one thread at a time tells it; any may ask has_ended().
class Responder {
  public:
    virtual ~Responder() = default;

    // Nobody waits any more: it was cancelled, or its caller has gone.
    virtual bool has_ended() const = 0;
    // more: the handler streams its answer, and this is not the last part of it.
    virtual void on_prediction(Prediction prediction, bool more) = 0;
    virtual void on_failure(const Failure& failure) = 0;
};

// Of requests that named a model, and one of its versions or none. Thread safety: any thread may use it.
struct AskedTotals {
    std::atomic<std::uint64_t> requests{0}, microseconds{0}, queue_microseconds{0};
};

struct Job {
    WorkerRequest request;
    std::shared_ptr<Responder> responder;
    Clock::time_point arrived;
    std::optional<Clock::time_point> deadline;
    bool names_version = false;                     // the caller did, rather than ask the default one
    bool urgent = false;                            // goes before those that are not
    bool alone = false;                             // shares no batch: it asks the handler for something else than predictions
    std::shared_ptr<AskedTotals> totals = nullptr;  // it counts there; null: nowhere
};

inline void fail_all(const std::vector<Job>& jobs, const Failure& failure) {
    for (const Job& job : jobs) job.responder->on_failure(failure);
}

}  // namespace persia::inference
