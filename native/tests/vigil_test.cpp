// Who stays awake for an answer, and who sleeps: at moments that the tests choose, counted from when a call was asked.
#include "persia/vigil.hpp"

#include <array>
#include <chrono>
#include <vector>

#include "callers.hpp"
#include "check.hpp"

using namespace persia;
using namespace std::chrono_literals;

namespace {

using Clock = Vigil::Clock;
using State = FrameCall::State;
using Calls = std::vector<const FrameCall*>;

constexpr Clock::duration kAwake = 300us;
constexpr int kLong = 100;  // as many answers as make it forget what was before

// A call that waits for its answer, asked later than those before.
struct Asking : Caller {
    Asking() {
        const Clock::time_point before = Clock::now();
        wait_until([&] { return Clock::now() > before; });
        ask(call, 5, {some_bytes(4)});
    }

    void answer() {
        ends.send(frame_of(5, {{}, {}}));
        call.advance();
    }
    void fail() {
        shutdown(ends.ours(), SHUT_RDWR);
        call.advance();
    }

    Clock::time_point after(Clock::duration time) const { return call.asked() + time; }
};

// A vigil while one thread waits.
struct Alone : Vigil {
    Alone() : Vigil(true) { begin(); }
};

bool stays_awake(const Vigil& vigil, const Calls& calls, Clock::time_point now, Clock::duration awake = kAwake) {
    return vigil.stays_awake(calls, Clock::time_point::max(), awake, now);
}

// From answers that each took so long.
void learn(Vigil& vigil, Clock::duration took, int times = 1) {
    Asking answered;
    answered.answer();
    for (int i = 0; i < times; ++i) vigil.learn(Calls{&answered.call}, answered.after(took));
}

}  // namespace

TEST(who_waits_alone_stays_awake_until_its_time_is_over) {
    const Alone vigil;
    const Asking one;
    const Calls calls{&one.call};
    CHECK(stays_awake(vigil, calls, one.after(0us)));
    CHECK(stays_awake(vigil, calls, one.after(kAwake - 1ns)));
    CHECK(!stays_awake(vigil, calls, one.after(kAwake)));
    const Clock::time_point end = one.after(100us);  // of the wait, before it would sleep
    CHECK(vigil.stays_awake(calls, end, kAwake, end - 1ns));
    CHECK(!vigil.stays_awake(calls, end, kAwake, end));
}

TEST(the_time_of_a_lookup_counts_from_its_first_question_that_is_pending) {
    const Alone vigil;
    Asking first, second, third;
    for (const Calls& calls : {Calls{&first.call, &second.call, &third.call}, Calls{&third.call, &second.call, &first.call}}) {
        CHECK(stays_awake(vigil, calls, first.after(kAwake - 1ns)));
        CHECK(!stays_awake(vigil, calls, first.after(kAwake)));
    }
    first.answer();
    const Calls calls{&first.call, &second.call, &third.call};
    CHECK(stays_awake(vigil, calls, second.after(kAwake - 1ns)));
    CHECK(!stays_awake(vigil, calls, second.after(kAwake)));
}

TEST(nobody_stays_awake_for_calls_that_are_not_pending) {
    const Alone vigil;
    Asking answered, failed;
    answered.answer();
    failed.fail();
    const Caller idle;
    CHECK(!stays_awake(vigil, {&answered.call, &failed.call, &idle.call}, failed.after(1us)));
    CHECK(!stays_awake(vigil, {}, failed.after(1us)));
}

TEST(two_that_wait_sleep_both) {
    Alone vigil;
    const Asking one;
    vigil.begin();
    CHECK(!stays_awake(vigil, {&one.call}, one.after(1us)));
    vigil.end();
    CHECK(stays_awake(vigil, {&one.call}, one.after(1us)));
}

TEST(on_one_processor_who_waits_sleeps) {
    Vigil vigil(false);
    const Asking one;
    vigil.begin();
    CHECK(!vigil.stays_awake(Calls{&one.call}, one.after(1s), kAwake, one.after(1us)));
}

TEST(who_has_no_time_to_stay_awake_sleeps) {
    const Alone vigil;
    const Asking one;
    CHECK(!stays_awake(vigil, {&one.call}, one.after(0us), 0us));
    CHECK(!stays_awake(vigil, {&one.call}, one.after(1us), 0us));
}

TEST(who_waits_for_slow_answers_sleeps_until_they_are_fast_again) {
    Alone vigil;
    const Asking one;
    for (int i = 0; i < 2; ++i) {
        learn(vigil, kAwake + 10us, kLong);
        CHECK(!stays_awake(vigil, {&one.call}, one.after(0us)));
        CHECK(stays_awake(vigil, {&one.call}, one.after(0us), 2 * kAwake));
        CHECK(!vigil.stays_awake(Calls{&one.call}, one.after(kAwake), 2 * kAwake, one.after(0us)));
        learn(vigil, kAwake - 10us, kLong);
        CHECK(stays_awake(vigil, {&one.call}, one.after(0us)));
        CHECK(stays_awake(vigil, {&one.call}, one.after(kAwake - 1ns)));  // when the answer is late, too
    }
}

TEST(one_answer_more_or_less_does_not_change_what_is_typical) {
    Alone vigil;
    const Asking one;
    learn(vigil, 50us, kLong);
    learn(vigil, kAwake + 100us);
    CHECK(stays_awake(vigil, {&one.call}, one.after(0us)));
    learn(vigil, 2 * kAwake, kLong);
    learn(vigil, 50us);
    CHECK(!stays_awake(vigil, {&one.call}, one.after(0us)));
}

// Once the first answer is there, the others follow at once: each wait is short, and the lookup is not.
TEST(who_asks_several_slow_shards_sleeps) {
    Alone vigil;
    for (int lookup = 0; lookup < 10; ++lookup) {
        std::array<Asking, 8> shards;
        Calls waiting;
        for (const Asking& shard : shards) waiting.push_back(&shard.call);
        Clock::time_point now = shards.back().after(1ms);
        for (Asking& shard : shards) {
            now += 10us;
            shard.answer();
            vigil.learn(waiting, now);
            waiting.erase(waiting.begin());
        }
    }
    const Asking one;
    CHECK(!stays_awake(vigil, {&one.call}, one.after(0us)));
}

TEST(all_answers_are_learned_from_and_nothing_else_beside_them) {
    Alone both, one_by_one;
    Asking silent, failed, first, second;
    failed.fail();
    first.answer();
    second.answer();
    const Clock::time_point now = second.after(100us);
    both.learn(Calls{&silent.call, &failed.call, &first.call, &second.call}, now);
    one_by_one.learn(Calls{&first.call}, now);
    CHECK(one_by_one.typical() > 0us && both.typical() > one_by_one.typical());
    one_by_one.learn(Calls{&second.call}, now);
    CHECK(both.typical() == one_by_one.typical());
}

TEST(who_waits_in_vain_learns_that_answers_take_longer) {
    Alone vigil;
    Asking first, second;
    for (int i = 0; i < kLong; ++i) vigil.learn(Calls{&second.call, &first.call}, first.after(kAwake + 10us));
    CHECK(!stays_awake(vigil, {&first.call}, first.after(0us)));
    // A wait that ended early, or for a failure, says nothing.
    const Clock::duration before = vigil.typical();
    vigil.learn(Calls{&first.call, &second.call}, first.after(10us));
    first.fail();
    vigil.learn(Calls{&first.call, &second.call}, second.after(10us));
    vigil.learn(Calls{&first.call}, first.after(1s));
    const Caller idle;
    vigil.learn(Calls{&idle.call}, second.after(1s));
    vigil.learn({}, second.after(1s));
    CHECK(vigil.typical() == before);
}
