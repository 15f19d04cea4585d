#include "grpc/work_queue.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace persia::grpc {

namespace {

constexpr double kFirstGuess = 2.0;  // nanoseconds for a byte
constexpr double kInertia = 16;
// What took longer by far was held up by something else, with the machine or by a shard, and says little about the next one.
constexpr double kMostAtOnce = 16;
// Work for less says more about threads than about bytes.
constexpr std::size_t kLeastBytes = 4096;
// Guesses are too high while many come at once and take the processors from those who work. So a call is refused only if it
// would be late by a shorter wait than is guessed, too: what stands in line and comes too late after all is dropped for
// nothing, while a caller that was refused comes back at once.
constexpr std::int64_t kSurePart = 3, kOfParts = 5;

std::string milliseconds_text(std::chrono::nanoseconds duration) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

void refuse(const Work& work, std::chrono::nanoseconds wait, std::chrono::nanoseconds patience, std::size_t waiting) {
    const std::string milliseconds = milliseconds_text(wait);
    work.call->finish({Code::resource_exhausted, "expected a turn within " + milliseconds_text(patience) + " ms, got " +
                                                     std::to_string(waiting) + " calls in line, which take about " +
                                                     milliseconds + " ms: the server has more to do than it can"},
                      {{"grpc-retry-pushback-ms", milliseconds}});
}

}  // namespace

WorkQueue::WorkQueue(std::size_t turns, std::chrono::nanoseconds longest)
    : turns_(std::max<std::size_t>(turns, 1)), longest_(longest), nanoseconds_per_byte_(kFirstGuess) {}

std::chrono::nanoseconds WorkQueue::estimate(std::size_t bytes) const {
    const double guess = nanoseconds_per_byte_.load(std::memory_order_relaxed) * static_cast<double>(bytes);
    return std::chrono::nanoseconds(static_cast<std::int64_t>(guess));
}

void WorkQueue::submit(Work work) {
    work.bytes = std::max(work.bytes, kLeastBytes);
    std::unique_lock lock(mutex_);
    if (at_work_ >= turns_) {
        stand_in_line(std::move(work), lock);
    } else {
        work_off(std::move(work), lock);
    }
}

bool WorkQueue::put(Work work) {
    work.bytes = std::max(work.bytes, kLeastBytes);
    std::unique_lock lock(mutex_);
    return stand_in_line(std::move(work), lock);
}

void WorkQueue::help() {
    std::unique_lock lock(mutex_);
    if (waiting_.empty() || at_work_ >= turns_) return;
    Work first = std::move(waiting_.front());
    waiting_.pop_front();
    waiting_bytes_ -= first.bytes;
    work_off(std::move(first), lock);
}

void WorkQueue::drop() {
    std::deque<Work> dropped;  // goes without the lock
    const std::lock_guard lock(mutex_);
    waiting_.swap(dropped);
    waiting_bytes_ = 0;
}

// False: it was refused, without the lock.
bool WorkQueue::stand_in_line(Work work, std::unique_lock<std::mutex>& lock) {
    const std::chrono::nanoseconds own = estimate(work.bytes);
    const auto wait = (estimate(waiting_bytes_) + estimate(bytes_at_work_) / 2) / static_cast<std::int64_t>(turns_);
    std::chrono::nanoseconds patience = longest_;
    if (const auto deadline = work.call->info().deadline) patience = std::min(patience, *deadline - Clock::now() - own);
    if (wait * kSurePart / kOfParts > patience) {
        ++counts_.refused;
        const std::size_t in_line = waiting_.size();
        lock.unlock();
        refuse(work, wait, std::max(patience, std::chrono::nanoseconds(0)), in_line);
        return false;
    }
    waiting_bytes_ += work.bytes;
    waiting_.push_back(std::move(work));
    return true;
}

// Takes a turn, for this work and then for what waits.
void WorkQueue::work_off(Work work, std::unique_lock<std::mutex>& lock) {
    ++at_work_;
    for (;;) {
        bytes_at_work_ += work.bytes;
        // What nobody stands behind is tried however long it takes by the estimate: a wrong one would never be mended else.
        const bool try_anyway = waiting_.empty();
        lock.unlock();
        run(work, try_anyway);
        const std::size_t done = work.bytes;
        work = {};  // what it holds goes without the lock
        lock.lock();
        bytes_at_work_ -= done;
        if (waiting_.empty()) break;
        work = std::move(waiting_.front());
        waiting_.pop_front();
        waiting_bytes_ -= work.bytes;
    }
    --at_work_;
}

void WorkQueue::run(const Work& work, bool try_anyway) {
    const auto began = Clock::now();
    const auto deadline = work.call->info().deadline;
    const bool too_late = !try_anyway && deadline && *deadline - began < estimate(work.bytes) * kSurePart / kOfParts;
    if (work.call->has_ended() || too_late) {
        work.call->finish({Code::deadline_exceeded, "expected a turn before the deadline, got none in time"});
        const std::lock_guard lock(mutex_);
        ++counts_.dropped;
        return;
    }
    work.run();
    learn(work.bytes, Clock::now() - began);
}

// Threads that learn at the same time may lose what one of them learned.
void WorkQueue::learn(std::size_t bytes, std::chrono::nanoseconds took) {
    const double before = nanoseconds_per_byte_.load(std::memory_order_relaxed);
    const double now = std::min(static_cast<double>(took.count()) / static_cast<double>(bytes), kMostAtOnce * before);
    nanoseconds_per_byte_.store(before + (now - before) / kInertia, std::memory_order_relaxed);
}

std::size_t WorkQueue::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
}

WorkQueue::Counts WorkQueue::counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
}

}  // namespace persia::grpc
