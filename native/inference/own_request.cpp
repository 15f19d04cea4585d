#include "inference/own_request.hpp"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "inference/request_ids.hpp"

namespace persia::inference {

namespace {

class Asker final : public Responder {
  public:
    bool has_ended() const override {
        const std::lock_guard lock(mutex_);
        return gave_up_;
    }
    void on_prediction(Prediction prediction, bool more) override {
        if (!more) put(std::move(prediction));
    }
    void on_failure(const Failure& failure) override { put(failure); }

    std::variant<Prediction, Failure> wait(std::chrono::milliseconds timeout) {
        std::unique_lock lock(mutex_);
        if (!told_.wait_for(lock, timeout, [this] { return answer_.has_value(); })) {
            gave_up_ = true;
            return Failure{Failure::Kind::expired, 504, "the handler did not answer in time", {}};
        }
        return std::move(*answer_);
    }

  private:
    void put(std::variant<Prediction, Failure> answer) {
        const std::lock_guard lock(mutex_);
        answer_ = std::move(answer);
        told_.notify_all();
    }

    mutable std::mutex mutex_;
    std::condition_variable told_;
    std::optional<std::variant<Prediction, Failure>> answer_;
    bool gave_up_ = false;
};

}  // namespace

std::variant<Prediction, Failure> ask(ModelVersion& model, Headers headers, std::chrono::milliseconds timeout) {
    const auto asker = std::make_shared<Asker>();
    Job job;
    job.request = {new_request_id(), std::move(headers), {}, nullptr};
    job.responder = asker;
    job.arrived = Clock::now();
    job.deadline = job.arrived + timeout;
    job.alone = true;
    model.submit(std::move(job));
    return asker->wait(timeout);
}

}  // namespace persia::inference
