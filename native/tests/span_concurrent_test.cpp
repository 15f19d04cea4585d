// Spans from their begin to whoever takes them.
#include "tracing/span.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"

using namespace persia::tracing;
using namespace std::chrono_literals;

namespace {

CallerPtr some_caller(std::shared_ptr<SpanRing> ring) {
    auto context = parse_trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1");
    return std::make_shared<const Caller>(Caller{std::move(ring), *context});
}

}  // namespace

TEST(a_span_says_whose_child_it_is_and_how_long_it_took) {
    const auto ring = std::make_shared<SpanRing>(10);
    const CallerPtr caller = some_caller(ring);
    {
        const SpanPtr outer = begin_span(caller, "outer", SpanKind::server);
        const SpanPtr inner = begin_span(outer->caller(), "inner", SpanKind::client);
        inner->set("rows", std::int64_t{3});
        inner->fail("broken");
    }
    const auto spans = ring->take(0s);
    CHECK(spans.size() == 2);
    const FinishedSpan &inner = spans[0], &outer = spans[1];
    CHECK(inner.name == "inner" && inner.kind == SpanKind::client && inner.failed && inner.problem == "broken");
    CHECK(std::get<std::int64_t>(inner.facts.at(0).second) == 3 && inner.facts[0].first == "rows");
    CHECK(outer.name == "outer" && !outer.failed && outer.parent == caller->context.span);
    CHECK(inner.parent == outer.context.span && inner.context.span != outer.context.span);
    CHECK(inner.context.trace == caller->context.trace && inner.context.state == "vendor=1");
    CHECK(outer.began_ns > 1'700'000'000'000'000'000 && outer.began_ns <= outer.ended_ns);
    CHECK(ring->take(0s).empty());
}

TEST(where_nothing_is_sampled_there_is_no_span) {
    const SpanPtr none = begin_span(nullptr, "x", SpanKind::internal);
    CHECK(none == nullptr);
    CHECK(within(none, [] { return 1; }) == 1);
    CHECK_THROWS(within(none, []() -> int { throw std::runtime_error("why"); }), std::runtime_error);
}

TEST(what_work_throws_is_why_its_span_failed) {
    const auto ring = std::make_shared<SpanRing>(10);
    {
        const SpanPtr span = begin_span(some_caller(ring), "x", SpanKind::internal);
        CHECK_THROWS(within(span, []() -> int { throw std::runtime_error("why"); }), std::runtime_error);
    }
    const auto spans = ring->take(0s);
    CHECK(spans.size() == 1 && spans[0].failed && spans[0].problem == "why");
}

TEST(of_what_others_send_as_a_problem_little_is_kept_and_that_as_text) {
    const auto ring = std::make_shared<SpanRing>(10);
    const CallerPtr caller = some_caller(ring);
    const std::string letters(Span::kMostProblem - 1, 'x');
    begin_span(caller, "x", SpanKind::internal)->fail("a\xff\xc3z");
    begin_span(caller, "x", SpanKind::internal)->fail(letters + "\xe2\x82\xac" + letters);  // a euro sign over the end
    const auto spans = ring->take(0s);
    CHECK(spans.size() == 2 && spans[0].problem == "a??z" && spans[1].problem == letters);
}

TEST(what_is_beyond_the_room_is_dropped_and_counted) {
    SpanRing ring(3);
    for (int i = 0; i < 5; ++i) ring.add({.name = std::to_string(i)});
    CHECK(ring.dropped() == 2);
    const auto spans = ring.take(1h);  // which does not wait: more than half of the room is taken
    CHECK(spans.size() == 3 && spans[0].name == "0" && spans[2].name == "2");
    ring.add({.name = "again"});
    CHECK(ring.dropped() == 2);
    ring.close();
    CHECK(ring.take(1h).size() == 1);
}

TEST(each_span_of_many_threads_is_taken_once_or_counted) {
    constexpr int kThreads = 4, kEach = 2000;
    const auto ring = std::make_shared<SpanRing>(64);
    const CallerPtr caller = some_caller(ring);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < kEach; ++n) begin_span(caller, "x", SpanKind::internal)->set("n", std::int64_t{n});
        });
    }
    std::atomic<bool> ended = false;
    std::size_t taken = 0;
    std::thread taker([&] {
        while (!ended) taken += ring->take(1ms).size();
    });
    for (std::thread& thread : threads) thread.join();
    ended = true;
    taker.join();
    taken += ring->take(0s).size();
    CHECK(taken + ring->dropped() == kThreads * kEach && taken > 0);
}
