// Calls to services of real servers: answers, fail-over, hedges, deadlines, and what is said when there is no answer.
#include "routing/ask.hpp"

#include <unistd.h>

#include <stdexcept>

#include "check.hpp"
#include "grpc_service.hpp"

using namespace persia;
using namespace persia::routing;
using grpc::Code;
using Mood = Answers::Mood;

namespace {

const unsigned kWatch = alarm(300);  // who waits for ever is ended
constexpr RetryPolicy kPolicy{.hedge_after = 10s, .wait_for_service = 0s};
constexpr RetryPolicy kHedging{.hedge_after = 20ms, .wait_for_service = 0s};
constexpr Clock::duration kLong = 60s;

std::string takes_all(std::span<const std::byte>) { return ""; }

std::shared_ptr<ReplicaSet> set_of(std::initializer_list<const Service*> services, const std::string& name = "shard 1 of 2") {
    ReplicaSet::Replicas replicas;
    for (const Service* service : services) replicas.push_back(service->replica);
    return std::make_shared<ReplicaSet>(name, std::move(replicas));
}

Call call_to(std::shared_ptr<ReplicaSet> service, const std::string& question, Call::Check check = takes_all) {
    return Call(std::move(service), kPath, grpc::OutgoingMessage(question), std::move(check));
}

template <class... Calls>
std::vector<Call> together(Calls... calls) {
    std::vector<Call> all;
    (all.push_back(std::move(calls)), ...);
    return all;
}

// Of one call: its answer, or what is said instead.
struct Outcome {
    std::string answer;
    CallError error;
};
Outcome ask(std::shared_ptr<ReplicaSet> service, const RetryPolicy& policy = kPolicy, Clock::duration time = kLong,
            Call::Check check = takes_all) {
    Asking asking(together(call_to(std::move(service), "x", std::move(check))), Clock::now() + time, policy);
    asking.finish();
    Call& call = asking.calls().front();
    if (call.has_answer()) return {text_of(call.answer().bytes()), {}};
    return {"", call.error()};
}

}  // namespace

TEST(several_services_are_asked_at_once) {
    Service first, second;
    Asking asking(together(call_to(set_of({&first}), "a"), call_to(set_of({&second}), "b")), Clock::now() + kLong, kPolicy);
    asking.begin();
    wait_until([&] { return first.answers->asked == 1 && second.answers->asked == 1; });  // before anybody waits
    asking.finish();
    CHECK(text_of(asking.calls()[0].answer().bytes()) == "answer to a");
    CHECK(text_of(asking.calls()[1].answer().bytes()) == "answer to b");
    CHECK(first.replica->idle_connections() == 1);
    CHECK(ask(set_of({&first})).answer == "answer to x" && first.replica->idle_connections() == 1);
    CHECK(first.server->counts().accepted == 1);
    Asking nobody({}, Clock::now() + kLong, kPolicy);
    nobody.finish();
}

TEST(a_service_may_be_at_a_unix_socket) {
    Service service("unix:/tmp/persia-ask-" + std::to_string(getpid()));
    CHECK(ask(set_of({&service})).answer == "answer to x");
}

TEST(a_spinning_thread_gets_the_same) {
    Service service;
    const RetryPolicy spinning{.hedge_after = 10s, .wait_for_service = 0s, .spin_for = 1s};
    for (int i = 0; i < 20; ++i) CHECK(ask(set_of({&service}), spinning).answer == "answer to x");
}

TEST(a_replica_that_is_gone_costs_no_call) {
    Service dead, well;
    const auto both = set_of({&dead, &well});
    for (int i = 0; i < 4; ++i) CHECK(ask(both).answer == "answer to x");
    dead.stop();
    for (int i = 0; i < 4; ++i) CHECK(ask(both).answer == "answer to x");
    CHECK(!dead.replica->usable() && well.replica->usable());
    const Outcome none = ask(set_of({&dead}));
    CHECK(none.error.status.code == Code::unavailable);
    CHECK(none.error.status.message.starts_with("expected an answer of shard 1 of 2, got none: " + dead.address + ": "));
}

TEST(a_replica_that_was_started_anew_is_connected_to_anew) {
    Service service;
    const auto only = set_of({&service});
    CHECK(ask(only).answer == "answer to x");
    service.restart();
    const Outcome after = ask(only);  // its old connection has ended, which is seen before it is used
    CHECK(after.answer == "answer to x" && service.replica->generation() == 0);
}

TEST(a_replica_that_is_not_ready_is_left_for_another_one) {
    Service loading, well;
    loading.answers->mood = Mood::unwell;
    for (int i = 0; i < 2; ++i) CHECK(ask(set_of({&loading, &well})).answer == "answer to x");
    CHECK(!loading.replica->usable() && loading.replica->why_unusable() == "loading");
}

TEST(a_service_is_waited_for_until_it_is_back) {
    Service service;
    service.replica->suspect(0, "gone");
    Asking asking(together(call_to(set_of({&service}), "x")), Clock::now() + kLong,
                  {.hedge_after = 10s, .wait_for_service = 60s});
    asking.begin();
    CHECK(!asking.calls().front().has_ended());
    std::thread prober([&] { service.become_well(); });
    asking.finish();
    prober.join();
    CHECK(asking.calls().front().has_answer());
}

TEST(a_replica_that_hangs_is_hedged_and_told_that_nobody_waits) {
    Service hangs, well;
    hangs.answers->mood = Mood::hold;
    const auto both = set_of({&hangs, &well});
    for (int i = 0; i < 4; ++i) CHECK(ask(both, kHedging).answer == "answer to x");
    CHECK(hangs.answers->asked >= 1 && hangs.replica->standing(Clock::now()) == Standing::slow);
    wait_until([&] { return hangs.answers->all_given_up(); });
    CHECK(hangs.replica->usable());
}

TEST(the_first_of_two_answers_counts) {
    Service slow, fast;
    slow.answers->mood = fast.answers->mood = Mood::hold;
    Asking asking(together(call_to(set_of({&slow, &fast}), "x")), Clock::now() + kLong, kHedging);
    std::thread server([&] {
        wait_until([&] { return slow.answers->asked == 1 && fast.answers->asked == 1; });
        fast.answers->release();
    });
    asking.finish();
    server.join();
    CHECK(text_of(asking.calls().front().answer().bytes()) == "late");
    wait_until([&] { return slow.answers->given_up() == 1; });
}

TEST(whoever_lost_is_told_while_another_service_is_waited_for) {
    Service slow, fast, other;
    slow.answers->mood = fast.answers->mood = other.answers->mood = Mood::hold;
    Asking asking(together(call_to(set_of({&slow, &fast}), "x"), call_to(set_of({&other}, "shard 0 of 2"), "x")),
                  Clock::now() + kLong, kHedging);
    std::thread server([&] {
        wait_until([&] { return slow.answers->asked == 1 && fast.answers->asked == 1; });
        fast.answers->release();
        wait_until([&] { return slow.answers->given_up() == 1; });
        other.answers->release();
    });
    asking.finish();
    server.join();
    for (const Call& call : asking.calls()) CHECK(call.has_answer());
}

TEST(a_call_ends_with_its_time) {
    Service hangs;
    hangs.answers->mood = Mood::hold;
    const Outcome late = ask(set_of({&hangs}), kPolicy, 50ms);
    CHECK(late.error.status.code == Code::deadline_exceeded);
    // Whichever sees first that the time is over.
    const std::string& words = late.error.status.message;
    CHECK(words == "expected an answer of shard 1 of 2 in time, got none from " + hangs.address ||
          words.starts_with("shard 1 of 2 at " + hangs.address + ": "));
    wait_until([&] { return hangs.answers->all_given_up(); });
    hangs.answers->mood = Mood::answer;
    CHECK(ask(set_of({&hangs})).answer == "answer to x");
}

TEST(a_refusal_is_the_error_of_the_call) {
    Service first, second;
    first.answers->mood = second.answers->mood = Mood::refuse;
    const Outcome refused = ask(set_of({&first, &second}));
    CHECK(refused.error.status.code == Code::invalid_argument);
    CHECK(refused.error.status.message.starts_with("shard 1 of 2 at 127.0.0.1:"));
    CHECK(refused.error.status.message.ends_with(": expected 5"));
    CHECK(first.answers->asked + second.answers->asked == 1);
}

TEST(a_refusal_is_known_while_another_service_hangs) {
    Service hangs, refuses;
    hangs.answers->mood = Mood::hold;
    refuses.answers->mood = Mood::refuse;
    for (const auto need : {Asking::Need::all, Asking::Need::each}) {
        const Clock::time_point end = Clock::now() + (need == Asking::Need::all ? kLong : Clock::duration(50ms));
        Asking asking(together(call_to(set_of({&hangs}, "shard 0 of 2"), "x"), call_to(set_of({&refuses}), "x")), end, kPolicy,
                      need);
        asking.finish();
        CHECK(asking.calls()[1].error().status.code == Code::invalid_argument);
        CHECK(asking.calls()[0].has_ended() == (need == Asking::Need::each));
    }
    wait_until([&] { return hangs.answers->all_given_up(); });
}

TEST(too_much_to_do_is_told_to_the_caller_with_its_time) {
    Service first, second;
    first.answers->mood = second.answers->mood = Mood::overloaded;
    const Outcome refused = ask(set_of({&first, &second}));
    CHECK(refused.error.status.code == Code::resource_exhausted && refused.error.pushback == 70ms);
    CHECK(first.answers->asked == 1 && second.answers->asked == 1);
    CHECK(first.replica->usable() && second.replica->usable());
    second.answers->mood = Mood::answer;
    CHECK(ask(set_of({&first, &second})).answer == "answer to x");
}

TEST(an_answer_that_is_none_is_asked_of_another_replica) {
    Service wrong("127.0.0.1:0", "wrong "), right;
    const Call::Check check = [](std::span<const std::byte> bytes) {
        return text_of(bytes).starts_with("wrong") ? "expected right, got wrong" : "";
    };
    for (int i = 0; i < 2; ++i) CHECK(ask(set_of({&wrong, &right}), kPolicy, kLong, check).answer == "answer to x");
    CHECK(!wrong.replica->usable());
    wrong.become_well();
    const Outcome none = ask(set_of({&wrong}), kPolicy, kLong, check);
    CHECK(none.error.status.message ==
          "expected an answer of shard 1 of 2, got none: " + wrong.address + ": an invalid answer: expected right, got wrong");
}

TEST(a_server_that_leaves_finishes_its_calls_and_costs_none) {
    Service leaves, stays;
    leaves.answers->mood = Mood::hold;
    const auto both = set_of({&leaves, &stays});
    Asking asking(together(call_to(set_of({&leaves}), "x")), Clock::now() + kLong, kPolicy);
    asking.begin();
    wait_until([&] { return leaves.answers->asked == 1; });
    std::thread stopping([&] { leaves.server->stop(60s); });
    for (int i = 0; i < 20; ++i) CHECK(ask(both).answer == "answer to x");
    leaves.answers->release();
    asking.finish();
    CHECK(text_of(asking.calls().front().answer().bytes()) == "late");
    stopping.join();
    for (int i = 0; i < 4; ++i) CHECK(ask(both).answer == "answer to x");
}

TEST(who_asks_is_heard_while_it_waits) {
    Service hangs;
    hangs.answers->mood = Mood::hold;
    Asking asking(together(call_to(set_of({&hangs}), "x")), Clock::now() + kLong, kPolicy);
    int times = 0;
    const auto interrupted = [&] {
        if (++times == 2) throw std::runtime_error("interrupted");
    };
    CHECK_THROWS(asking.finish({.look = interrupted}), std::runtime_error);
}

TEST(large_questions_and_answers_are_whole) {
    Service service;
    const std::string question(20'000'000, 'q');
    Asking asking(together(call_to(set_of({&service}), question)), Clock::now() + kLong, kPolicy);
    asking.finish();
    CHECK(asking.calls().front().has_answer());
    CHECK(text_of(asking.calls().front().answer().bytes()) == "answer to " + question);
}
