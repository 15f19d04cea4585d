#include "persia/frame_exchange.hpp"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

namespace persia {

namespace {

using Clock = std::chrono::steady_clock;
using State = FrameCall::State;

constexpr double kLongest = 1e6;  // seconds: more than anybody waits

Clock::duration duration_of(double seconds) {
    const auto patience = std::chrono::duration<double>(seconds > 0 ? std::min(seconds, kLongest) : 0);
    return std::chrono::duration_cast<Clock::duration>(patience);
}

timespec until(Clock::time_point end) {
    const auto left = std::max(end - Clock::now(), Clock::duration::zero());
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
    return {whole.count(), std::chrono::nanoseconds(left - whole).count()};
}

bool has_ended(const FrameCall* call) { return call->state() == State::whole || call->state() == State::failed; }

bool may_run_beside_others() {
    static const bool may = [] {
        cpu_set_t processors;
        return sched_getaffinity(0, sizeof(processors), &processors) == 0 && CPU_COUNT(&processors) > 1;
    }();
    return may;
}

void rest_a_moment() {
    constexpr int kTimes = 50;
    for (int i = 0; i < kTimes; ++i) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        asm volatile("yield");
#endif
    }
}

// Whether it is worth while to stay awake for an answer, for all threads of the process.
class Vigil {
  public:
    void begin() { waiting_.fetch_add(1, std::memory_order_relaxed); }

    // Looks for an answer for so long, if it is likely to come, and nobody else waits for one: then there is other work to do.
    void keep(std::span<FrameCall* const> calls, Clock::time_point end) const {
        if (end - Clock::now() < Clock::duration(typical_.load(std::memory_order_relaxed)) || !may_run_beside_others()) return;
        while (is_alone() && std::ranges::none_of(calls, has_ended) && Clock::now() < end) {
            rest_a_moment();
            sched_yield();  // to a server that waits for this very processor
            for (FrameCall* call : calls) call->advance();
        }
    }

    // An answer took so long. Threads that learn at the same time may lose what one of them learned.
    void end(Clock::duration took) {
        constexpr Clock::rep kInertia = 8;
        const Clock::rep typical = typical_.load(std::memory_order_relaxed);
        typical_.store(typical + (took.count() - typical) / kInertia, std::memory_order_relaxed);
        waiting_.fetch_sub(1, std::memory_order_relaxed);
    }

  private:
    bool is_alone() const { return waiting_.load(std::memory_order_relaxed) == 1; }

    std::atomic<int> waiting_ = 0;
    std::atomic<Clock::rep> typical_ = 0;
};

Vigil vigil;

// One thread's exchange.
struct Waiting {
    Waiting() { vigil.begin(); }
    ~Waiting() { vigil.end(Clock::now() - since); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

    const Clock::time_point since = Clock::now();
};

void sleep(std::span<FrameCall* const> calls, std::span<const int> descriptors, Clock::time_point end) {
    std::vector<pollfd> polled(descriptors.size() + calls.size());
    const auto sockets = std::span(polled).subspan(descriptors.size());
    do {
        for (std::size_t i = 0; i < descriptors.size(); ++i) polled[i] = {descriptors[i], POLLIN, 0};
        for (std::size_t i = 0; i < calls.size(); ++i) {
            const int socket = calls[i]->state() == State::pending ? calls[i]->socket() : -1;  // which is not looked at
            sockets[i] = {socket, static_cast<short>(calls[i]->sends() ? POLLOUT : POLLIN), 0};
        }
        const timespec left = until(end);
        if (ppoll(polled.data(), polled.size(), &left, nullptr) <= 0) return;  // too late, or a signal
        const auto ready = [](const pollfd& one) { return one.revents != 0; };
        for (std::size_t i = 0; i < calls.size(); ++i) {
            if (ready(sockets[i])) calls[i]->advance();
        }
        if (std::ranges::any_of(std::span(polled).first(descriptors.size()), ready)) return;
    } while (std::ranges::none_of(calls, has_ended));
}

}  // namespace

void exchange(std::span<FrameCall* const> calls, std::span<const int> descriptors, double seconds, double awake) {
    const Waiting waiting;
    const Clock::time_point end = waiting.since + duration_of(seconds);
    if (awake > 0 && descriptors.empty() && !calls.empty()) {
        vigil.keep(calls, std::min(waiting.since + duration_of(awake), end));
    }
    if (std::ranges::none_of(calls, has_ended)) sleep(calls, descriptors, end);
}

}  // namespace persia
