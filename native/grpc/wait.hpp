// Waiting for several calls at once.
#pragma once

#include <atomic>
#include <chrono>
#include <span>

#include "grpc/client_connection.hpp"

namespace persia::grpc {

// Whether a thread that waits for answers looks again at once, or sleeps until it is woken: one for all threads of a process.
// To be woken takes tens of microseconds where an idle processor goes back to a hypervisor: as long as a server takes for a
// small lookup. So a thread spins that waits alone in its process, where there is another processor, and while answers come
// before it would give up. Time counts from when a call began, not from when a wait did: most waits for several calls are
// short, however long their answers take. Thread safety: any thread, any time.
class SpinPolicy {
  public:
    // may_run_beside_others: whether this process has more than one processor.
    explicit SpinPolicy(bool may_run_beside_others) : beside_others_(may_run_beside_others) {}

    // That of this process.
    static SpinPolicy& of_process();

    // Around each wait.
    void begin_wait() { waiting_.fetch_add(1, std::memory_order_relaxed); }
    void end_wait() { waiting_.fetch_sub(1, std::memory_order_relaxed); }

    // Once for each wait: whether it spins even if answers are known to take longer. To sleep makes them take longer, as the
    // system then runs servers one after the other on one processor, so what is known has to be tried again now and then.
    bool tries_again() { return waits_.fetch_add(1, std::memory_order_relaxed) % kTryEvery == kTryEvery - 1; }

    // Whether a thread that waits until `end` for calls, the first of which began at `began`, looks again at once; for
    // `spin_for` at most since then.
    bool should_spin(Clock::time_point began, Clock::time_point end, Clock::duration spin_for, Clock::time_point now,
                     bool tries = false) const;

    // Each answer once, of those waits that began to spin.
    void learn_answer(Clock::duration took);
    // The first answer takes longer than this. It says something where that is longer than usual.
    void learn_no_answer(Clock::duration waited);

    // How long answers take, of late, if whoever waits for them spins.
    Clock::duration typical() const { return Clock::duration(typical_.load(std::memory_order_relaxed)); }

  private:
    static constexpr std::uint32_t kTryEvery = 16;

    const bool beside_others_;
    std::atomic<int> waiting_ = 0;
    std::atomic<std::uint32_t> waits_ = 0;
    std::atomic<Clock::rep> typical_ = 0;
};

// Advances calls until one of them has ended, or `end`, or a signal comes while it sleeps. Connections that are idle are left
// alone; where one has ended before, nothing is done. A signal that comes while it spins does not end it, nor the sleep that
// follows.
//
// wanted: all: whoever waits has no use for one answer without the others. Then a thread that sleeps is woken by the call that
// began last, when the others have mostly ended too, and looks at them now and then: to be woken for each costs more than they
// do. spin_for: as for SpinPolicy; 0: it always sleeps.
enum class Wanted { any, all };
void wait_any(std::span<ClientConnection* const> connections, Clock::time_point end, Clock::duration spin_for = {},
              Wanted wanted = Wanted::any, SpinPolicy& policy = SpinPolicy::of_process());

}  // namespace persia::grpc
