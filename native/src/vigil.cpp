#include "persia/vigil.hpp"

#include <algorithm>
#include <optional>

namespace persia {

namespace {

using State = FrameCall::State;

// When the first of those was asked that are pending, if any is.
std::optional<Vigil::Clock::time_point> first_asked(Vigil::Calls calls) {
    std::optional<Vigil::Clock::time_point> first;
    for (const FrameCall* call : calls) {
        if (call->state() == State::pending && (!first || call->asked() < *first)) first = call->asked();
    }
    return first;
}

}  // namespace

bool Vigil::stays_awake(Calls calls, Clock::time_point end, Clock::duration awake, Clock::time_point now) const {
    // Where others wait, or nobody else can run meanwhile, there is other work to do.
    if (!beside_others_ || waiting_.load(std::memory_order_relaxed) != 1) return false;
    const auto asked = first_asked(calls);
    if (!asked) return false;
    const Clock::time_point until = std::min(*asked + awake, end);
    return now < until && *asked + typical() <= until;
}

void Vigil::learn(Calls calls, Clock::time_point now) {
    bool answered = false;
    for (const FrameCall* call : calls) {
        if (call->state() != State::whole) continue;
        answered = true;
        learn(now - call->asked());
    }
    if (answered) return;
    // The first answer takes at least so long, which says something once it is longer than usual: a wait that ended for another
    // reason may have been short.
    if (const auto asked = first_asked(calls)) learn(std::max(now - *asked, typical()));
}

// Threads that learn at the same time may lose what one of them learned.
void Vigil::learn(Clock::duration took) {
    constexpr Clock::rep kInertia = 8;
    const Clock::rep typical = typical_.load(std::memory_order_relaxed);
    typical_.store(typical + (took.count() - typical) / kInertia, std::memory_order_relaxed);
}

}  // namespace persia
