// What a client may do that costs a server more than it costs the client.
#include "grpc/flood_limits.hpp"

#include "check.hpp"

using namespace std::chrono_literals;
using persia::grpc::FloodLimits;

namespace {

// How often something may be done before it is too much, at most so often.
template <class Do>
int times(FloodLimits& limits, int at_most, Do one) {
    for (int i = 0; i < at_most; ++i) {
        one();
        if (!limits.too_much().empty()) return i;
    }
    return at_most;
}

}  // namespace

TEST(frames_that_carry_nothing_are_allowed_for_what_was_sent) {
    FloodLimits poor(1s), rich(1s);
    rich.on_bytes_sent(100 << 20);
    const int few = times(poor, 1'000'000, [&] { poor.on_idle_frame(); });
    CHECK(few >= 10'000 && few < 1'000'000);
    CHECK(poor.too_much() == "too many frames that carry nothing");
    CHECK(times(rich, 100'000, [&] { rich.on_idle_frame(); }) == 100'000);
}

TEST(the_begin_of_a_call_carries_something) {
    FloodLimits limits(1s);
    const auto begin = [&] {
        limits.on_idle_frame();
        limits.on_call_began();
    };
    CHECK(times(limits, 1'000'000, begin) == 1'000'000);
}

TEST(calls_are_given_up_as_often_as_they_are_answered) {
    FloodLimits limits(1s);
    for (int i = 0; i < 100'000; ++i) limits.on_call_answered();
    CHECK(times(limits, 100'000, [&] { limits.on_call_given_up(); }) == 100'000);
    CHECK(times(limits, 1'000'000, [&] { limits.on_call_given_up(); }) < 1'000'000);
    CHECK(limits.too_much() == "too many calls were given up");
}

TEST(pings_are_forgiven_while_answers_are_sent) {
    FloodLimits limits(1h);
    const auto ping = [&] {
        limits.on_ping();
        limits.forgive_pings();
    };
    CHECK(times(limits, 10'000, ping) == 10'000);
    CHECK(times(limits, 10'000, [&] { limits.on_ping(); }) < 100);
    CHECK(limits.too_much() == "too_many_pings");
}

TEST(a_client_reads_what_it_makes_a_server_say) {
    FloodLimits limits(1s);
    limits.on_unmade_frames(20'000);
    CHECK(limits.too_much().empty());
    limits.on_unmade_frames(20'001);
    CHECK(limits.too_much() == "too much is said that is not read");
}
