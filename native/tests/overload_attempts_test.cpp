// What a call does next where there is too much to do: it makes that no worse.

#include "attempts.hpp"
#include "check.hpp"

using namespace persia;
using namespace persia::routing;

TEST(a_server_that_dies_costs_no_call_however_little_is_left_to_spend) {
    Asked one(2);
    one.spend_all();
    for (int i = 0; i < 1000; ++i) {
        for (const auto& replica : one.replicas) recover(*replica);
        Attempts call(one.service);
        const auto first = call.next(kNow, kEnd, kPolicy).replica;
        call.began(first);
        CHECK(!call.failed(first, first->generation(), lost(), kNow));
        CHECK(call.next(kNow, kEnd, kPolicy).kind == Kind::ask);
        one.spend_all();
    }
}

TEST(one_with_too_much_to_do_is_not_suspected_and_another_one_may_be_asked) {
    Asked call(2);
    const auto first = call.ask();
    CHECK(!call.fail(first, overloaded(3s)));
    CHECK(first->usable() && first->standing(kNow + 2900ms) == Standing::slow);
    const auto second = call.ask();
    CHECK(second && second != first);
    CHECK(!call.fail(second, overloaded()));
    const Attempts::Step step = call.next();
    CHECK(step.kind == Kind::give_up && step.error.status.code == Code::resource_exhausted && step.error.pushback == 50ms);
    CHECK(step.error.status.message == "shard 1 of 2 at " + second->address() + ": too much to do");
    CHECK(first->usable() && second->usable());
}

TEST(overload_goes_back_to_the_caller_where_it_may_not_be_asked_again) {
    Asked spent(2);
    CHECK(!spent.fail(spent.ask(), overloaded()));
    spent.spend_all();
    CHECK(spent.next().kind == Kind::give_up);
    Asked forbidden(2);
    CHECK(!forbidden.fail(forbidden.ask(), overloaded(-1ms)));
    CHECK(forbidden.next().kind == Kind::give_up && forbidden.next().error.pushback == -1ms);
    Asked only(1);
    CHECK(!only.fail(only.ask(), overloaded()));
    CHECK(only.next().kind == Kind::give_up);
}

TEST(who_hedges_one_with_too_much_to_do_is_waited_for) {
    Asked call(2);
    const auto first = call.ask();
    const auto second = call.ask(100ms);
    CHECK(first && second && !call.fail(first, overloaded(), 101ms));
    CHECK(call.next(102ms).kind == Kind::wait);
    CHECK(!call.fail(second, lost(), 103ms));
    CHECK(call.next(104ms).error.status.code == Code::resource_exhausted);
}

TEST(hedges_have_a_budget) {
    Asked call(2);
    CHECK(call.ask() != nullptr);
    call.spend_all(100ms);
    CHECK(call.ask(100ms) == nullptr && call.next(199ms).kind == Kind::wait);
    CHECK(call.ask(200ms) != nullptr);  // there is some again by then
}
