// Waiting for several calls at once: until one of them has its answer, and no longer.
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <limits>
#include <vector>

#include "callers.hpp"
#include "check.hpp"

using namespace persia;

namespace {

using State = FrameCall::State;
using Calls = std::vector<FrameCall*>;

constexpr double kForever = std::numeric_limits<double>::infinity();
const unsigned kWatch = alarm(6 * kPatienceSeconds);  // who does wait for ever is ended

const std::vector<Bytes> kQuestion{some_bytes(24), some_bytes(4)};
const std::vector<Bytes> kReply{some_bytes(100), some_bytes(13)};

// Signals of which nothing comes but that they interrupt. To be destroyed after the threads that get them.
struct Signals {
    Signals() {
        heard = 0;
        struct sigaction action{};
        action.sa_handler = [](int) { ++heard; };
        sigaction(SIGUSR1, &action, &before);
    }
    ~Signals() { sigaction(SIGUSR1, &before, nullptr); }

    static void send(std::thread& thread) { pthread_kill(thread.native_handle(), SIGUSR1); }

    static inline std::atomic<int> heard = 0;
    struct sigaction before{};
};

// A call that waits for its answer.
struct Asking : Caller {
    Asking() { ask(call, 5, kQuestion); }
    void answer() { ends.send(frame_of(5, kReply)); }
};

}  // namespace

TEST(all_go_on_while_any_is_waited_for) {
    Asking one, two, three;
    std::thread peer([&] {
        three.answer();
        const Bytes answer = frame_of(5, kReply);
        for (const std::byte& byte : answer) {
            one.ends.send({&byte, 1});
            two.ends.send({&byte, 1});
        }
    });
    exchange_all({&one.call, &two.call, &three.call}, kForever);
    peer.join();
    for (Asking* asking : {&one, &two, &three}) {
        CHECK(asking->state() == State::whole);
        CHECK(taken(asking->call) == frame_of(5, kReply));
    }
}

TEST(the_first_answer_ends_it) {
    for (const bool second : {false, true}) {
        Asking one, two;
        Asking &fast = second ? two : one, &slow = second ? one : two;
        std::thread peer([&] { fast.answer(); });
        exchange(Calls{&one.call, &two.call}, {}, kForever);
        peer.join();
        CHECK(fast.state() == State::whole);
        CHECK(slow.state() == State::pending);
        slow.answer();
        exchange(Calls{&one.call, &two.call}, {}, kForever);  // at once, for one is whole as before
        CHECK(slow.state() == State::pending);
        exchange(Calls{&slow.call}, {}, kForever);
        CHECK(slow.state() == State::whole);
    }
}

TEST(who_stays_awake_gets_what_who_sleeps_gets) {
    for (const double awake : {0.0, 1e-6, kForever}) {
        Asking one, two;
        std::thread peer([&] { two.answer(); });
        exchange(Calls{&one.call, &two.call}, {}, kForever, awake);
        peer.join();
        CHECK(one.state() == State::pending);
        CHECK(taken(two.call) == frame_of(5, kReply));
        one.ends.close_ours();
        exchange(Calls{&one.call}, {}, kForever, awake);
        CHECK(one.state() == State::failed);
    }
}

TEST(who_stays_awake_ends_when_the_time_is_over_and_for_descriptors) {
    Asking one;
    for (const double seconds : {0.0, 0.002, -1.0}) exchange(Calls{&one.call}, {}, seconds, kForever);
    CHECK(one.state() == State::pending);
    Ends bell;
    bell.send(some_bytes(1));
    const int descriptors[] = {bell.theirs()};
    exchange(Calls{&one.call}, descriptors, kForever, kForever);
    CHECK(one.state() == State::pending);
}

TEST(a_failure_ends_it_at_once) {
    Asking one, two, three;
    two.ends.close_ours();
    exchange(Calls{&one.call, &two.call, &three.call}, {}, kForever);
    CHECK(one.state() == State::pending);
    CHECK(two.state() == State::failed);
    CHECK(three.state() == State::pending);
    exchange(Calls{&one.call, &two.call, &three.call}, {}, kForever);  // it has failed before
    CHECK(one.state() == State::pending);
}

TEST(it_ends_when_its_time_is_over) {
    Asking one;
    for (const double seconds : {0.0, 0.002, -1.0, std::numeric_limits<double>::quiet_NaN()})
        exchange(Calls{&one.call}, {}, seconds);
    CHECK(one.state() == State::pending);
    exchange({}, {}, 0.001);
    Caller idle;
    exchange(Calls{&idle.call}, {}, 0.001);
    CHECK(idle.state() == State::idle);
    one.answer();
    exchange(Calls{&one.call}, {}, 0.0);  // what is there is taken in no time
    CHECK(one.state() == State::whole);
}

TEST(a_descriptor_that_can_be_read_ends_it) {
    Asking one;
    Ends bell;
    const int descriptors[] = {bell.theirs()};
    exchange(Calls{&one.call}, descriptors, 0.001);
    bell.send(some_bytes(1));
    exchange(Calls{&one.call}, descriptors, kForever);
    CHECK(one.state() == State::pending);
    exchange({}, descriptors, kForever);
    one.answer();
    exchange(Calls{&one.call}, descriptors, kForever);
    CHECK(one.state() == State::whole);  // the calls have gone on beside it
    CHECK(Ends::unread(bell.theirs()) == 1);
    Ends closed;
    closed.close_ours();
    const int gone[] = {closed.theirs()};
    exchange({}, gone, kForever);
}

TEST(requests_larger_than_their_sockets_are_sent_side_by_side) {
    const std::vector<Bytes> columns{some_bytes(400'000), some_bytes(4)};
    const Bytes frame = frame_of(5, columns);
    Caller callers[3];
    Calls calls;
    std::vector<std::thread> peers;
    std::atomic<int> right{0};
    for (Caller& caller : callers) {
        const int size = 4'096;
        setsockopt(caller.ends.theirs(), SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        ask(caller.call, 5, columns);
        CHECK(caller.call.sends());
        calls.push_back(&caller.call);
    }
    // None reads the last bytes before all others have come: who sends one after the other would not get on.
    std::atomic<int> close_to_the_end{0};
    for (Caller& caller : callers) {
        peers.emplace_back([&] {
            Bytes got = caller.ends.receive(frame.size() - 100'000);
            ++close_to_the_end;
            wait_until([&] { return close_to_the_end == 3; });
            const Bytes rest = caller.ends.receive(100'000);
            got.insert(got.end(), rest.begin(), rest.end());
            right += got == frame;
            caller.ends.send(frame_of(5, kReply));
        });
    }
    exchange_all(calls, kPatienceSeconds);
    for (std::thread& peer : peers) peer.join();
    CHECK(right == 3);
    for (Caller& caller : callers) CHECK(caller.state() == State::whole);
}

TEST(a_signal_ends_the_sleep) {
    const Signals signals;
    Vigil vigil(true);
    vigil.begin();  // somebody else waits, so it sleeps
    Asking one;
    std::atomic<bool> done{false};
    std::thread waiting([&] {
        exchange(Calls{&one.call}, {}, kPatienceSeconds * 2, kForever, vigil);
        done = true;
    });
    wait_until([&] {
        if (!done) Signals::send(waiting);
        return done.load();
    });
    waiting.join();
    CHECK(one.state() == State::pending);
}

TEST(a_signal_does_not_end_it_while_it_is_awake) {
    const Signals signals;
    Vigil vigil(true);
    Asking one;
    std::atomic<bool> done{false};
    std::thread waiting([&] {
        exchange(Calls{&one.call}, {}, kForever, kForever, vigil);
        done = true;
    });
    for (int i = 1; i <= 100 && !done; ++i) {
        Signals::send(waiting);
        wait_until([&] { return Signals::heard >= i || done; });
    }
    CHECK(!done);
    one.answer();
    waiting.join();
    CHECK(one.state() == State::whole);
}

TEST(a_wait_is_over_for_the_vigil_when_it_ends) {
    Vigil vigil(true);
    Asking one;
    for (int i = 0; i < 2; ++i) exchange(Calls{&one.call}, {}, 0.0, 0.0, vigil);
    vigil.begin();
    const FrameCall::Clock::time_point asked = one.call.asked();
    CHECK(vigil.stays_awake(Calls{&one.call}, FrameCall::Clock::time_point::max(), std::chrono::hours(1), asked));
}

TEST(the_vigil_learns_from_each_answer_once) {
    for (const double awake : {0.0, kForever}) {
        Vigil vigil(true);
        Asking one, two;
        one.answer();
        exchange(Calls{&one.call, &two.call}, {}, kForever, awake, vigil);
        const FrameCall::Clock::duration learned = vigil.typical();
        CHECK(learned > FrameCall::Clock::duration::zero());
        for (int i = 0; i < 2; ++i) {
            exchange(Calls{&one.call, &two.call}, {}, kForever, awake, vigil);  // one is whole as before
            CHECK(vigil.typical() == learned);
        }
    }
}

TEST(the_vigil_learns_from_waiting_in_vain) {
    for (const double awake : {0.0, kForever}) {
        Vigil vigil(true);
        Asking one;
        exchange(Calls{&one.call}, {}, 0.0, awake, vigil);
        CHECK(vigil.typical() > FrameCall::Clock::duration::zero());
    }
}
