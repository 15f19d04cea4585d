#include "grpc/call_queue.hpp"

#include <chrono>
#include <utility>

namespace persia::grpc {

namespace {

const Status kStopping(Code::unavailable, "the server is stopping");

}  // namespace

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

void CallQueue::Item::come_again(std::size_t below) {
    const std::shared_ptr<CallQueue> queue = std::exchange(queue_, nullptr);
    if (!queue) return;
    queue->done(call);
    call->when_unsent_below(below, [queue, again = call] { queue->add_again(again); });
}

std::shared_ptr<Method> CallQueue::method(bool takes_stream) {
    return std::make_shared<QueuedMethod>(shared_from_this(), takes_stream);
}

void CallQueue::add(const ServerCallPtr& call, std::optional<ReceivedMessage> message) {
    bool closed = false;
    {
        const std::lock_guard lock(mutex_);
        closed = closed_;
        const auto found = calls_.find(call.get());
        if (!closed && (found == calls_.end() ? line_.size() < most_ : found->second.events.size() < most_)) {
            return put(call, {std::move(message)});
        }
    }
    if (closed) return call->finish(kStopping);
    call->finish({Code::resource_exhausted, "expected at most " + std::to_string(most_) + " in line, got one more"});
}

// Whatever the length of the line: it has been in before.
void CallQueue::add_again(const ServerCallPtr& call) {
    const std::lock_guard lock(mutex_);
    if (!closed_) put(call, {std::nullopt, true});
}

void CallQueue::put(const ServerCallPtr& call, Event event) {
    Call& state = calls_[call.get()];
    state.events.push_back(std::move(event));
    if (!state.is_out && state.events.size() == 1) stand_in_line(call, state);
}

// At the end of it; or it leaves, if there is nothing of it.
void CallQueue::stand_in_line(const ServerCallPtr& call, const Call& state) {
    if (state.events.empty()) {
        calls_.erase(call.get());
    } else {
        line_.push_back(call);
        come_.notify_one();
    }
}

std::optional<CallQueue::Item> CallQueue::next(double seconds) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    std::unique_lock lock(mutex_);
    for (;;) {
        while (!line_.empty()) {
            ServerCallPtr call = std::move(line_.front());
            line_.pop_front();
            Call& state = calls_.at(call.get());
            Event event = std::move(state.events.front());
            state.events.pop_front();
            if (call->has_ended() && !event.again) {
                stand_in_line(call, state);
                continue;
            }
            state.is_out = true;
            lock.unlock();
            return Item(shared_from_this(), std::move(call), std::move(event.message));
        }
        if (closed_ || come_.wait_until(lock, end) == std::cv_status::timeout) return std::nullopt;
    }
}

void CallQueue::done(const ServerCallPtr& call) {
    const std::lock_guard lock(mutex_);
    const auto found = calls_.find(call.get());
    if (found == calls_.end()) return;  // the queue was closed
    found->second.is_out = false;
    stand_in_line(call, found->second);
}

bool CallQueue::closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
}

void CallQueue::close() {
    std::deque<ServerCallPtr> left;
    {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        left.swap(line_);
        calls_.clear();
        come_.notify_all();
    }
    for (const ServerCallPtr& call : left) call->finish(kStopping);
}

}  // namespace persia::grpc
