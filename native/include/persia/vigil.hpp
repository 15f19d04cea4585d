// Whether a thread that waits for answers stays awake, or sleeps until it is woken.
#pragma once

#include <atomic>
#include <chrono>
#include <span>

#include "persia/frame_call.hpp"

namespace persia {

// Of all threads of a process. Only a thread stays awake that waits alone, while answers come before it would give up. Time
// counts from when a call was asked, not from when a wait began: most waits of a lookup of several shards end soon, however
// long it takes.
// Thread safety: any thread, any time.
class Vigil {
  public:
    using Clock = FrameCall::Clock;
    using Calls = std::span<const FrameCall* const>;

    // beside_others: whether this process has more than one processor.
    explicit Vigil(bool beside_others) : beside_others_(beside_others) {}

    // Around each wait.
    void begin() { waiting_.fetch_add(1, std::memory_order_relaxed); }
    void end() { waiting_.fetch_sub(1, std::memory_order_relaxed); }

    // Whether a thread that waits for these until `end` looks again at once, for `awake` at most since the first of those was
    // asked that are pending.
    bool stays_awake(Calls calls, Clock::time_point end, Clock::duration awake, Clock::time_point now) const;

    // After each wait, asleep or awake. REQUIRES: what is whole was pending before, or it would be learned from twice.
    void learn(Calls calls, Clock::time_point now);

    // How long answers take, of late.
    Clock::duration typical() const { return Clock::duration(typical_.load(std::memory_order_relaxed)); }

  private:
    void learn(Clock::duration took);

    const bool beside_others_;
    std::atomic<int> waiting_ = 0;
    std::atomic<Clock::rep> typical_ = 0;
};

}  // namespace persia
