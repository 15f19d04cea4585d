#include "grpc/wait.hpp"

#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace persia::grpc {

namespace {

using Connections = std::span<ClientConnection* const>;
using State = ClientConnection::State;

constexpr std::chrono::hours kLongestSpin{24};

bool may_run_beside_others() {
    cpu_set_t processors;
    return sched_getaffinity(0, sizeof(processors), &processors) == 0 && CPU_COUNT(&processors) > 1;
}

bool has_ended(const ClientConnection* connection) { return connection->has_ended(); }

// When the first of those calls began that are pending, if any is.
std::optional<Clock::time_point> first_began(Connections connections) {
    std::optional<Clock::time_point> first;
    for (const ClientConnection* connection : connections) {
        if (connection->state() != State::pending) continue;
        if (!first || connection->began() < *first) first = connection->began();
    }
    return first;
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
    explicit Waiting(SpinPolicy& kept) : policy(kept) { policy.begin_wait(); }
    ~Waiting() { policy.end_wait(); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

    SpinPolicy& policy;
};

// Whether it did at all.
bool spin(Connections connections, Clock::time_point end, Clock::duration spin_for, SpinPolicy& policy) {
    const bool tries = policy.tries_again();
    bool spun = false;
    while (std::ranges::none_of(connections, has_ended)) {
        const auto began = first_began(connections);
        if (!began || !policy.should_spin(*began, end, spin_for, Clock::now(), tries)) break;
        spun = true;
        rest_a_moment();
        sched_yield();  // to a server that waits for this very processor
        for (ClientConnection* connection : connections) connection->advance();
    }
    return spun;
}

timespec until(Clock::time_point end, Clock::time_point now) {
    // More than anybody waits, and not too much for the system.
    constexpr auto kLongest = std::chrono::duration_cast<Clock::duration>(std::chrono::hours(24 * 365));
    const auto left = end <= now ? Clock::duration::zero() : end - kLongest > now ? kLongest : end - now;
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
    return {whole.count(), std::chrono::nanoseconds(left - whole).count()};
}

pollfd polled_of(const ClientConnection& connection) {
    if (connection.state() != State::pending) return {-1, 0, 0};  // which is not looked at
    const int events = (connection.wants_to_read() ? POLLIN : 0) | (connection.wants_to_write() ? POLLOUT : 0);
    return {connection.socket(), static_cast<short>(events), 0};
}

// Until the last one has ended, or another one a little earlier.
void sleep_for_all(Connections connections, Clock::time_point end) {
    constexpr auto kLook = std::chrono::milliseconds(2);
    while (std::ranges::none_of(connections, has_ended)) {
        const bool buffered = std::ranges::any_of(connections, [](const ClientConnection* one) { return one->has_buffered(); });
        const Clock::time_point now = Clock::now();
        const timespec left = until(buffered ? now : std::min(end, now + kLook), now);
        pollfd last = polled_of(*connections.back());
        if (ppoll(&last, 1, &left, nullptr) < 0) return;  // a signal
        for (ClientConnection* connection : connections) {
            if (connection->state() == State::pending) connection->advance();
        }
        if (Clock::now() >= end) return;
    }
}

void sleep(Connections connections, Clock::time_point end) {
    constexpr std::size_t kFew = 16;
    std::array<pollfd, kFew> few;
    std::vector<pollfd> many(connections.size() > kFew ? connections.size() : 0);
    const std::span<pollfd> polled = many.empty() ? std::span(few).first(connections.size()) : std::span(many);
    while (std::ranges::none_of(connections, has_ended)) {
        bool buffered = false;
        for (std::size_t i = 0; i < connections.size(); ++i) {
            polled[i] = polled_of(*connections[i]);
            buffered = buffered || (connections[i]->state() == State::pending && connections[i]->has_buffered());
        }
        const Clock::time_point now = Clock::now();
        const timespec left = until(buffered ? now : end, now);
        const int ready = ppoll(polled.data(), polled.size(), &left, nullptr);
        if (ready < 0 || (ready == 0 && !buffered)) return;  // a signal, or too late
        for (std::size_t i = 0; i < connections.size(); ++i) {
            if (polled[i].revents != 0 || connections[i]->has_buffered()) connections[i]->advance();
        }
    }
}

void learn(Connections connections, SpinPolicy& policy, Clock::time_point now) {
    bool answered = false;
    for (const ClientConnection* connection : connections) {
        if (connection->state() != State::complete) continue;
        answered = true;
        policy.learn_answer(now - connection->began());
    }
    if (answered) return;
    if (const auto began = first_began(connections)) policy.learn_no_answer(now - *began);
}

}  // namespace

SpinPolicy& SpinPolicy::of_process() {
    static SpinPolicy policy(may_run_beside_others());
    return policy;
}

bool SpinPolicy::should_spin(Clock::time_point began, Clock::time_point end, Clock::duration spin_for, Clock::time_point now,
                             bool tries) const {
    // Where others wait, or nobody else can run meanwhile, there is other work to do.
    if (!beside_others_ || waiting_.load(std::memory_order_relaxed) != 1) return false;
    const Clock::time_point until = std::min(began + std::min<Clock::duration>(spin_for, kLongestSpin), end);
    return now < until && (tries || began + typical() <= until);
}

// Threads that learn at the same time may lose what one of them learned.
void SpinPolicy::learn_answer(Clock::duration took) {
    constexpr Clock::rep kInertia = 8;
    const Clock::rep typical = typical_.load(std::memory_order_relaxed);
    typical_.store(typical + (took.count() - typical) / kInertia, std::memory_order_relaxed);
}

void SpinPolicy::learn_no_answer(Clock::duration waited) { learn_answer(std::max(waited, typical())); }

void wait_any(Connections connections, Clock::time_point end, Clock::duration spin_for, Wanted wanted, SpinPolicy& policy) {
    if (std::ranges::any_of(connections, has_ended)) return;  // it was learned from when it ended
    const Waiting waiting(policy);
    const bool spun = spin(connections, end, spin_for, policy);
    if (wanted == Wanted::all && connections.size() > 1 && connections.back()->state() == State::pending) {
        sleep_for_all(connections, end);
    } else {
        sleep(connections, end);
    }
    if (spun) learn(connections, policy, Clock::now());
}

}  // namespace persia::grpc
