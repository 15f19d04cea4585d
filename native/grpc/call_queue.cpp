#include "grpc/call_queue.hpp"

#include <chrono>
#include <utility>

namespace persia::grpc {

class CallQueue::QueuedMethod final : public Method {
  public:
    QueuedMethod(std::shared_ptr<CallQueue> queue, bool takes_stream) : queue_(std::move(queue)), stream_(takes_stream) {}

    void on_message(const ServerCallPtr& call, ReceivedMessage message) override { queue_->add(call, std::move(message)); }
    void on_messages_end(const ServerCallPtr& call) override { queue_->add(call, std::nullopt); }
    bool takes_stream() const override { return stream_; }

  private:
    const std::shared_ptr<CallQueue> queue_;
    const bool stream_;
};

CallQueue::Item::Item(std::shared_ptr<CallQueue> queue, ServerCallPtr of_call, std::optional<ReceivedMessage> what)
    : call(std::move(of_call)), message(std::move(what)), queue_(std::move(queue)) {}

CallQueue::Item::~Item() {
    if (queue_) queue_->done(call);
}

std::shared_ptr<Method> CallQueue::method(bool takes_stream) {
    return std::make_shared<QueuedMethod>(shared_from_this(), takes_stream);
}

void CallQueue::add(const ServerCallPtr& call, std::optional<ReceivedMessage> message) {
    bool closed = false;
    {
        const std::lock_guard lock(mutex_);
        closed = closed_;
        const auto out = held_.find(call.get());
        std::deque<Waiting>& line = out != held_.end() ? out->second : waiting_;
        if (!closed && line.size() < most_) {
            line.push_back({call, std::move(message)});
            if (&line == &waiting_) come_.notify_one();
            return;
        }
    }
    if (closed) return call->finish({Code::unavailable, "the server is stopping"});
    call->finish({Code::resource_exhausted, "expected at most " + std::to_string(most_) + " calls in line, got one more"});
}

std::optional<CallQueue::Item> CallQueue::next(double seconds) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    std::unique_lock lock(mutex_);
    for (;;) {
        while (!waiting_.empty()) {
            Waiting first = std::move(waiting_.front());
            waiting_.pop_front();
            if (const auto out = held_.find(first.call.get()); out != held_.end()) {
                out->second.push_back(std::move(first));
                continue;
            }
            if (first.call->has_ended()) continue;
            held_[first.call.get()];
            lock.unlock();
            return Item(shared_from_this(), std::move(first.call), std::move(first.message));
        }
        if (closed_ || come_.wait_until(lock, end) == std::cv_status::timeout) return std::nullopt;
    }
}

void CallQueue::done(const ServerCallPtr& call) {
    const std::lock_guard lock(mutex_);
    const auto out = held_.find(call.get());
    if (out == held_.end()) return;
    if (closed_) out->second.clear();
    for (auto later = out->second.rbegin(); later != out->second.rend(); ++later) waiting_.push_front(std::move(*later));
    const bool more = !out->second.empty();
    held_.erase(out);
    if (more) come_.notify_one();
}

bool CallQueue::closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
}

void CallQueue::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    waiting_.clear();
    come_.notify_all();
}

}  // namespace persia::grpc
