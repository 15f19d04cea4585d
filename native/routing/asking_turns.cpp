#include "routing/asking_turns.hpp"

#include <algorithm>
#include <chrono>
#include <string>

#include "grpc/call_failed.hpp"

namespace persia::routing {

namespace {

[[noreturn]] void refuse(std::size_t others, Clock::duration patience) {
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(patience);
    throw grpc::CallFailed(
        {grpc::Code::resource_exhausted,
         "expected a turn to ask within " + std::to_string(waited.count()) + " ms, got none, and " + std::to_string(others) +
             " more calls of this process wait for theirs: it asks for more than the servers can do"},
        waited);
}

}  // namespace

std::optional<AskingTurns::Turn> AskingTurns::try_take(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    if (!waiting_.empty() || !may_begin(bytes)) return std::nullopt;
    bytes_under_way_ += bytes;
    return Turn(this, bytes);
}

AskingTurns::Turn AskingTurns::take(std::size_t bytes, Clock::time_point end, const OnWait& on_wait) {
    if (auto turn = try_take(bytes)) return std::move(*turn);
    const Clock::time_point began = Clock::now();
    const auto patience = std::chrono::duration_cast<Clock::duration>(kPatience * (end - began));
    Waiter waiter{bytes};
    std::unique_lock lock(mutex_);
    waiting_.push_back(&waiter);
    call_next();  // a turn may have ended meanwhile
    wait(waiter, began + patience, on_wait, lock);
    if (!waiter.has_turn) {
        forget(waiter);
        if (last_end_ > began) refuse(waiting_.size(), patience);
        bytes_under_way_ += bytes;
    }
    return {this, bytes};
}

bool AskingTurns::may_begin(std::size_t bytes) const {
    return bytes_under_way_ == 0 || bytes_under_way_ + bytes <= bytes_at_once_;
}

void AskingTurns::wait(Waiter& waiter, Clock::time_point until, const OnWait& on_wait, std::unique_lock<std::mutex>& lock) {
    while (!waiter.has_turn && Clock::now() < until) {
        const Clock::time_point look_at = std::min(until, Clock::now() + on_wait.every);
        if (waiter.called.wait_until(lock, look_at, [&] { return waiter.has_turn; }) || !on_wait.look) continue;
        lock.unlock();
        try {
            on_wait.look();
            lock.lock();
        } catch (...) {
            lock.lock();
            if (waiter.has_turn) {
                bytes_under_way_ -= waiter.bytes;
                call_next();
            } else {
                forget(waiter);
            }
            throw;
        }
    }
}

// REQUIRES: it has no turn.
void AskingTurns::forget(const Waiter& waiter) {
    waiting_.erase(std::ranges::find(waiting_, &waiter));
    call_next();  // it may have been in the way of smaller ones
}

void AskingTurns::call_next() {
    while (!waiting_.empty() && may_begin(waiting_.front()->bytes)) {
        Waiter& next = *waiting_.front();
        waiting_.pop_front();
        bytes_under_way_ += next.bytes;
        next.has_turn = true;
        next.called.notify_one();
    }
}

void AskingTurns::end(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    last_end_ = Clock::now();
    bytes_under_way_ -= bytes;
    call_next();
}

std::size_t AskingTurns::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
}

}  // namespace persia::routing
