#include "persia/frame_exchange.hpp"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace persia {

namespace {

using Clock = FrameCall::Clock;
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
    cpu_set_t processors;
    return sched_getaffinity(0, sizeof(processors), &processors) == 0 && CPU_COUNT(&processors) > 1;
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

// One thread's wait.
struct Waiting {
    explicit Waiting(Vigil& kept) : vigil(kept) { vigil.begin(); }
    ~Waiting() { vigil.end(); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

    Vigil& vigil;
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

void exchange(std::span<FrameCall* const> calls, std::span<const int> descriptors, double seconds, double awake, Vigil& vigil) {
    if (std::ranges::any_of(calls, has_ended)) return;  // it was learned from when it ended
    const Waiting waiting(vigil);
    const Clock::time_point end = Clock::now() + duration_of(seconds);
    const Clock::duration at_most = duration_of(awake);
    while (descriptors.empty() && std::ranges::none_of(calls, has_ended) &&
           vigil.stays_awake(calls, end, at_most, Clock::now())) {
        rest_a_moment();
        sched_yield();  // to a server that waits for this very processor
        for (FrameCall* call : calls) call->advance();
    }
    if (std::ranges::none_of(calls, has_ended)) sleep(calls, descriptors, end);
    vigil.learn(calls, Clock::now());
}

void exchange(std::span<FrameCall* const> calls, std::span<const int> descriptors, double seconds, double awake) {
    static Vigil vigil(may_run_beside_others());
    exchange(calls, descriptors, seconds, awake, vigil);
}

}  // namespace persia
