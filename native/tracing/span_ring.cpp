#include "tracing/span_ring.hpp"

namespace persia::tracing {

SpanRing::SpanRing(std::size_t most) : most_(most) {}

void SpanRing::add(FinishedSpan span) {
    const std::lock_guard lock(mutex_);
    if (spans_.size() >= most_) {
        ++dropped_;
        return;
    }
    spans_.push_back(std::move(span));
    if (spans_.size() == most_ / 2 + 1) changed_.notify_all();
}

std::vector<FinishedSpan> SpanRing::take(std::chrono::nanoseconds after) {
    std::vector<FinishedSpan> taken;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, after, [&] { return closed_ || spans_.size() > most_ / 2; });
    taken.swap(spans_);
    return taken;
}

void SpanRing::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
}

std::uint64_t SpanRing::dropped() const {
    const std::lock_guard lock(mutex_);
    return dropped_;
}

}  // namespace persia::tracing
