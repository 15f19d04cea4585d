#include "grpc/deadlines.hpp"

#include <sys/timerfd.h>

#include <algorithm>

namespace persia::grpc {

Deadlines::Deadlines(Clock::duration look_every)
    : look_every_(look_every), timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd"),
      next_look_(Clock::time_point::max()) {}

void Deadlines::start() {
    const std::lock_guard lock(mutex_);
    next_look_ = Clock::now() + look_every_;
    set_timer();
}

void Deadlines::watch(const std::shared_ptr<ConnectedCall>& call) {
    const auto deadline = call->info().deadline;
    if (!deadline || call->is_finished() || !call->begin_watch()) return;
    const std::lock_guard lock(mutex_);
    if (heap_.size() >= forget_at_) forget_ended();
    heap_.emplace_back(*deadline, call);
    std::ranges::push_heap(heap_, Later());
    if (heap_.front().first == *deadline && *deadline < next_look_) set_timer();
}

// Of a client that has long deadlines and short calls there would be more and more.
void Deadlines::forget_ended() {
    std::erase_if(heap_, [](const Deadline& deadline) {
        const auto call = deadline.second.lock();
        return !call || call->is_finished();
    });
    std::ranges::make_heap(heap_, Later());
    forget_at_ = std::max(kFew, 2 * heap_.size());
}

Deadlines::Due Deadlines::on_time(Clock::time_point now) {
    Due due{};
    hear(timer_.number);
    const std::lock_guard lock(mutex_);
    while (!heap_.empty() && heap_.front().first <= now) {
        if (auto call = heap_.front().second.lock()) due.late.push_back(std::move(call));
        std::ranges::pop_heap(heap_, Later());
        heap_.pop_back();
    }
    due.look = now >= next_look_;
    if (due.look) next_look_ = now + look_every_;
    set_timer();
    return due;
}

std::size_t Deadlines::size() {
    const std::lock_guard lock(mutex_);
    return heap_.size();
}

void Deadlines::set_timer() {
    itimerspec when{};
    when.it_value = timespec_of(heap_.empty() ? next_look_ : std::min(next_look_, heap_.front().first));
    timerfd_settime(timer_.number, TFD_TIMER_ABSTIME, &when, nullptr);
}

}  // namespace persia::grpc
