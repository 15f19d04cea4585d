// Who spins for an answer, and who sleeps: at moments that the tests choose, counted from when a call began.
#include <chrono>

#include "check.hpp"
#include "grpc/wait.hpp"

using namespace persia::grpc;
using namespace std::chrono_literals;

namespace {

constexpr Clock::duration kSpin = 300us;
constexpr int kLong = 100;  // as many answers as make it forget what was before
const Clock::time_point kBegan = Clock::now();

// A policy while one thread waits.
struct Alone : SpinPolicy {
    Alone() : SpinPolicy(true) { begin_wait(); }
};

bool should_spin(const SpinPolicy& policy, Clock::duration after, Clock::duration spin_for = kSpin) {
    return policy.should_spin(kBegan, Clock::time_point::max(), spin_for, kBegan + after);
}

void learn(SpinPolicy& policy, Clock::duration took, int times = 1) {
    for (int i = 0; i < times; ++i) policy.learn_answer(took);
}

}  // namespace

TEST(a_thread_that_waits_alone_spins_for_so_long) {
    const Alone policy;
    CHECK(should_spin(policy, 0us) && should_spin(policy, kSpin - 1ns));
    CHECK(!should_spin(policy, kSpin) && !should_spin(policy, 1s));
    CHECK(!policy.should_spin(kBegan, kBegan + 10us, kSpin, kBegan + 10us));  // its time is over
    CHECK(policy.should_spin(kBegan, kBegan + 10us, kSpin, kBegan + 9us));
}

TEST(two_that_wait_sleep_both) {
    Alone policy;
    policy.begin_wait();
    CHECK(!should_spin(policy, 1us));
    policy.end_wait();
    CHECK(should_spin(policy, 1us));
}

TEST(on_one_processor_who_waits_sleeps) {
    SpinPolicy policy(false);
    policy.begin_wait();
    CHECK(!should_spin(policy, 1us, 1s));
}

TEST(who_has_no_time_to_spin_sleeps) {
    const Alone policy;
    CHECK(!should_spin(policy, 0us, 0us) && !should_spin(policy, 1us, 0us));
}

// As long as it sleeps, answers take longer: what it knows is of waits that spin, so it has to spin to learn more.
TEST(who_waits_for_slow_answers_tries_again_now_and_then) {
    Alone policy;
    learn(policy, kSpin + 10us, kLong);
    int tries = 0;
    for (int i = 0; i < kLong; ++i) tries += policy.tries_again() ? 1 : 0;
    CHECK(tries > 1 && tries < kLong / 10);
    CHECK(policy.should_spin(kBegan, Clock::time_point::max(), kSpin, kBegan, true));
    CHECK(!policy.should_spin(kBegan, Clock::time_point::max(), kSpin, kBegan + kSpin, true));
    policy.begin_wait();
    CHECK(!policy.should_spin(kBegan, Clock::time_point::max(), kSpin, kBegan, true));  // beside another one
}

TEST(a_time_beyond_all_clocks_is_long) {
    const Alone policy;
    CHECK(should_spin(policy, 1h, Clock::duration::max()));
}

TEST(who_waits_for_slow_answers_sleeps_until_they_are_fast_again) {
    Alone policy;
    for (int i = 0; i < 2; ++i) {
        learn(policy, kSpin + 10us, kLong);
        CHECK(!should_spin(policy, 0us) && should_spin(policy, 0us, 2 * kSpin));
        CHECK(!policy.should_spin(kBegan, kBegan + kSpin, 2 * kSpin, kBegan));
        learn(policy, kSpin - 10us, kLong);
        CHECK(should_spin(policy, 0us));
        CHECK(should_spin(policy, kSpin - 1ns));  // when the answer is late, too
    }
}

TEST(one_answer_more_or_less_does_not_change_what_is_typical) {
    Alone policy;
    learn(policy, 50us, kLong);
    learn(policy, kSpin + 100us);
    CHECK(should_spin(policy, 0us));
    learn(policy, 2 * kSpin, kLong);
    learn(policy, 50us);
    CHECK(!should_spin(policy, 0us));
}

TEST(who_waits_in_vain_learns_that_answers_take_longer) {
    Alone policy;
    for (int i = 0; i < kLong; ++i) policy.learn_no_answer(kSpin + 10us);
    CHECK(!should_spin(policy, 0us));
    const Clock::duration before = policy.typical();
    policy.learn_no_answer(10us);  // a wait that ended early says nothing
    CHECK(policy.typical() == before);
}
