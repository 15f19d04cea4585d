// What a call does next: whom it asks, when it hedges, when it gives up. No server is needed.
#include <algorithm>
#include <string>
#include <vector>

#include "attempts.hpp"
#include "check.hpp"

using namespace persia;
using namespace persia::routing;

TEST(a_call_asks_one_and_waits_until_it_is_to_be_hedged) {
    Asked one(2);
    CHECK(one.ask() != nullptr);
    const Attempts::Step step = one.next();
    CHECK(step.kind == Kind::wait && step.until == kNow + 100ms);
    CHECK(one.attempts.next(kNow, kNow + 50ms, kPolicy).until == kNow + 50ms);
}

TEST(calls_take_the_replicas_in_turn_and_those_with_the_least_trouble) {
    Asked service(3);
    std::vector<Replica*> seen;
    for (int i = 0; i < 3; ++i) {
        Attempts call(service.service);
        seen.push_back(call.next(kNow, kEnd, kPolicy).replica.get());
    }
    std::ranges::sort(seen);
    CHECK(std::ranges::adjacent_find(seen) == seen.end());
    service.replicas[0]->mark_slow(kNow);
    service.replicas[1]->mark_hanging(kNow + 10s);
    for (int i = 0; i < 4; ++i) CHECK(service.service->choose(kNow) == service.replicas[2]);
    service.replicas[2]->exclude("another checkpoint");
    CHECK(service.service->choose(kNow) == service.replicas[0]);
    CHECK(service.service->choose(kNow, std::span(service.replicas).first(1)) == service.replicas[1]);
    CHECK(service.service->choose(kNow, service.replicas) == nullptr);
    service.replicas[2]->exclude("");
    CHECK(service.service->choose(kNow) == service.replicas[2]);
    CHECK(service.replicas[0]->standing(kNow + Replica::kSlowFor) == Standing::well);
}

TEST(one_that_does_not_answer_is_hedged_by_another_one_once) {
    Asked call(3);
    const auto first = call.ask();
    CHECK(call.ask(99ms) == nullptr && first->standing(kNow + 99ms) == Standing::well);
    const auto second = call.ask(100ms);
    CHECK(second && second != first && first->standing(kNow + 100ms) == Standing::slow);
    CHECK(call.ask(200ms) == nullptr && second->standing(kNow + 200ms) == Standing::slow);
    CHECK(call.next(201ms).until == kNow + 300ms);
    // The first one may still fail, and the second one answer.
    CHECK(!call.fail(first, lost()) && call.next(202ms).kind == Kind::wait);
}

TEST(where_all_are_slow_nobody_is_hedged) {
    Asked call(2);
    for (const auto& one : call.replicas) one->mark_slow(kNow + 1s);
    CHECK(call.ask() && call.ask(100ms) == nullptr);
    // One that hangs is relieved by one that is slow.
    Asked other(2);
    for (const auto& one : other.replicas) one->mark_slow(kNow + 1s);
    const auto hangs = other.ask();
    hangs->mark_hanging(kNow + 10s);
    CHECK(other.ask(100ms) != nullptr);
}

TEST(the_only_replica_is_not_hedged) {
    Asked call(1);
    CHECK(call.ask() && call.ask(100ms) == nullptr && call.ask(1s) == nullptr);
    CHECK(call.words_of_end(10s) == "expected an answer of shard 1 of 2 in time, got none from a:1");
    CHECK(call.next(10s).error.status.code == Code::deadline_exceeded);
}

TEST(a_replica_that_fails_is_suspected_and_another_one_asked) {
    Asked call(2);
    const auto first = call.ask();
    CHECK(!call.fail(first, lost()));
    CHECK(!first->usable() && first->why_unusable() == "Connection refused" && first->generation() == 1);
    const auto second = call.ask();
    CHECK(second && second != first);
}

TEST(a_service_that_is_away_is_waited_for) {
    Asked call(1);
    const auto only = call.ask();
    CHECK(!call.fail(only, lost()));
    const Attempts::Step step = call.next(10ms);
    CHECK(step.kind == Kind::wait && step.until == kNow + 15ms);
    recover(*only);
    CHECK(call.ask(20ms) == only);

    Asked vain(1);
    CHECK(!vain.fail(vain.ask(), lost()));
    CHECK(vain.next(500ms).kind == Kind::wait);
    CHECK(vain.words_of_end(9s) == "expected an answer of shard 1 of 2, got none: a:1: Connection refused");
    CHECK(vain.next(9s).error.status.code == Code::unavailable);
    // It has been away for long by then: other calls do not wait for it.
    Attempts late(vain.service);
    CHECK(late.next(kNow + 9s, kEnd, kPolicy).kind == Kind::give_up);
}

TEST(a_service_without_addresses_says_so) {
    Asked call(0);
    CHECK(call.words_of_end(9s) == "expected an answer of shard 1 of 2, got none: no address is known yet");
    call.service->set_replicas({}, "ps.example: Name or service not known");
    Attempts late(call.service);
    const auto step = late.next(kNow + 9s, kEnd, kPolicy);
    CHECK(step.error.status.message.ends_with("got none: ps.example: Name or service not known"));
}

TEST(what_another_replica_would_say_as_well_is_the_error) {
    for (const Code code : {Code::invalid_argument, Code::resource_exhausted, Code::unauthenticated, Code::unimplemented,
                            Code::internal, Code::deadline_exceeded}) {
        Asked call(2);
        const auto first = call.ask();
        const auto error = call.fail(first, refused(code, "expected 5"));
        CHECK(error && error->status.code == code && !error->pushback);
        CHECK(error && error->status.message == "shard 1 of 2 at " + first->address() + ": expected 5");
        CHECK(first->usable());
    }
}

TEST(what_is_no_word_of_a_server_is_asked_of_another_one) {
    for (const Code code : {Code::unavailable, Code::unknown, Code::internal, Code::cancelled}) {
        Asked call(2);
        grpc::Reply reply = refused(code, "ended");
        reply.is_servers_word = false;
        const auto first = call.ask();
        CHECK(!call.fail(first, reply) && !first->usable());
        CHECK(call.ask() != nullptr);
    }
}

TEST(a_call_is_not_tried_for_ever) {
    Asked call(1);
    int attempts = 0;
    while (const auto only = call.ask()) {
        ++attempts;
        CHECK(!call.fail(only, lost("an invalid answer")));
        recover(*only);
    }
    CHECK(attempts == Attempts::kMost);
    CHECK(call.words_of_end(1ms) == "expected an answer of shard 1 of 2, got none: a:1: an invalid answer");
}

TEST(a_failure_says_of_each_attempt_why_once) {
    Asked call(2);
    const auto first = call.ask();
    CHECK(!call.fail(first, lost("reset")));
    const auto second = call.ask();
    CHECK(!call.fail(second, lost("refused")));
    for (const auto& one : call.replicas) recover(*one);
    const std::string words = call.words_of_end(10s);
    CHECK(words ==
          "expected an answer of shard 1 of 2, got none: " + first->address() + ": reset; " + second->address() + ": refused");
}

TEST(a_call_that_nothing_was_done_for_is_asked_again_for_nothing) {
    Asked call(1);
    call.spend_all();
    grpc::Reply unprocessed = lost("the server is leaving");
    unprocessed.unprocessed = true;
    for (int i = 0; i < Attempts::kUnprocessed; ++i) {
        const auto only = call.ask();
        CHECK(only && !call.fail(only, unprocessed) && only->usable());
    }
    const auto only = call.ask();
    CHECK(only && !call.fail(only, unprocessed) && !only->usable());  // it does nothing else
    recover(*only);
    CHECK(call.ask() == only);
    CHECK(!call.fail(only, unprocessed));
    recover(*only);
    CHECK(call.words_of_end(0s).ends_with("it is not asked again, as many calls have failed of late"));
}

TEST(a_call_without_time_is_not_asked) {
    Asked call(1);
    CHECK(call.words_of_end(10s) == "expected an answer of shard 1 of 2 in time, got no time to ask");
    Asked away(1);
    away.replicas[0]->suspect(0, "Connection refused");
    CHECK(away.words_of_end(10s) == "expected an answer of shard 1 of 2, got none: a:1: Connection refused");
}
