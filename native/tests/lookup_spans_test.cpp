// Spans of lookups: of those that are sampled, each time that a server is asked, and what servers do for them.
#include <map>
#include <set>
#include <string>

#include "check.hpp"
#include "grpc_service.hpp"
#include "looking_up.hpp"
#include "serving/call_span.hpp"
#include "serving/forward_method.hpp"

using namespace persia;
using namespace persia::tracing;
using namespace std::chrono_literals;
using routing::Asking;
using routing::Clock;
using routing::RetryPolicy;
using routing::Service;
using Mood = routing::Answers::Mood;

namespace {

constexpr char kParent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
constexpr RetryPolicy kPolicy{.hedge_after = 10s, .wait_for_service = 0s};
constexpr RetryPolicy kHedging{.hedge_after = 20ms, .wait_for_service = 0s};

CallerPtr caller_of(const std::shared_ptr<SpanRing>& ring) {
    return std::make_shared<const Caller>(Caller{ring, *parse_trace_context(kParent)});
}

// As it would stand in a header.
std::string parent_of(const FinishedSpan& span) {
    return traceparent_of({.trace = span.context.trace, .span = span.parent, .flags = span.context.flags});
}

std::string text_fact(const FinishedSpan& span, const std::string& key) {
    for (const auto& [name, value] : span.facts) {
        if (name == key) return std::get<std::string>(value);
    }
    return {};
}

bool is_given_up(const FinishedSpan& span) {
    return std::ranges::any_of(span.facts, [](const auto& fact) { return fact.first == "persia.given_up"; });
}

std::shared_ptr<routing::ReplicaSet> set_of(std::initializer_list<const Service*> services) {
    routing::ReplicaSet::Replicas replicas;
    for (const Service* service : services) replicas.push_back(service->replica);
    return std::make_shared<routing::ReplicaSet>("shard 0 of 1", std::move(replicas));
}

// The spans of one call, by the replica that was asked.
std::map<std::string, FinishedSpan> spans_of_call(std::shared_ptr<routing::ReplicaSet> set, const RetryPolicy& policy,
                                                  Clock::duration time = 60s) {
    const auto ring = std::make_shared<SpanRing>(100);
    {
        std::vector<routing::Call> calls;
        calls.emplace_back(
            std::move(set), routing::kPath, grpc::OutgoingMessage(std::string("x")),
            [](std::span<const std::byte>) { return std::string(); }, routing::AnswerMemory(), 0, caller_of(ring));
        Asking asking(std::move(calls), Clock::now() + time, policy);
        asking.finish();
    }
    std::map<std::string, FinishedSpan> spans;
    for (FinishedSpan& span : ring->take(0s)) {
        CHECK(span.name == "persia.ask" && span.kind == SpanKind::client);
        CHECK(parent_of(span) == kParent);
        const std::string address = text_fact(span, "server.address");
        CHECK(spans.emplace(address, std::move(span)).second);
    }
    return spans;
}

std::shared_ptr<FakeCall> call_of(std::initializer_list<std::pair<std::string, std::string>> metadata) {
    auto call = std::make_shared<FakeCall>();
    call->call_info.metadata.assign(metadata.begin(), metadata.end());
    return call;
}

}  // namespace

TEST(a_hedge_is_a_span_of_its_own_and_whoever_lost_was_given_up) {
    Service hangs, well;
    hangs.answers->mood = Mood::hold;
    std::map<std::string, FinishedSpan> spans;
    while (spans.size() < 2) spans = spans_of_call(set_of({&hangs, &well}), kHedging);  // until the one that hangs was first
    const FinishedSpan &first = spans.at(hangs.address), &hedge = spans.at(well.address);
    CHECK(text_fact(first, "persia.reason") == "first" && is_given_up(first) && !first.failed);
    CHECK(text_fact(hedge, "persia.reason") == "hedge" && !is_given_up(hedge) && !hedge.failed);
    CHECK(hedge.began_ns >= first.began_ns && hedge.context.span != first.context.span);
}

TEST(a_retry_is_a_span_of_its_own_and_the_one_before_says_why_it_failed) {
    Service loading, well;
    loading.answers->mood = Mood::unwell;
    std::map<std::string, FinishedSpan> spans;
    while (spans.size() < 2) {
        loading.become_well();
        spans = spans_of_call(set_of({&loading, &well}), kPolicy);
    }
    const FinishedSpan &first = spans.at(loading.address), &retry = spans.at(well.address);
    CHECK(text_fact(first, "persia.reason") == "first" && first.failed && first.problem == "loading");
    CHECK(text_fact(retry, "persia.reason") == "retry" && !retry.failed);
}

TEST(a_replica_that_cannot_be_connected_to_has_a_span_as_well) {
    Service gone;
    gone.stop();
    const auto spans = spans_of_call(set_of({&gone}), kPolicy);
    CHECK(spans.size() == 1 && spans.at(gone.address).failed && !spans.at(gone.address).problem.empty());
}

TEST(a_call_whose_time_is_over_gives_its_spans_up) {
    Service hangs;
    hangs.answers->mood = Mood::hold;
    const auto spans = spans_of_call(set_of({&hangs}), kPolicy, 50ms);
    CHECK(spans.size() == 1);  // given up here, or ended by the server at the same time
    const FinishedSpan& span = spans.at(hangs.address);
    CHECK(is_given_up(span) || span.failed);
}

TEST(a_lookup_is_a_span_and_so_is_what_each_shard_does) {
    Shards shards(2);
    const auto ring = std::make_shared<SpanRing>(100), of_shards = std::make_shared<SpanRing>(100);
    for (std::size_t i = 0; i < 2; ++i) {
        shards.servers[i] = std::make_unique<Served>(
            kLookupPath, std::make_shared<serving::LookupMethod>(shards.shards[i]->context, of_shards));
        shards.replicas[i] = ready_replica(shards.servers[i]->address());
        shards.sets[i] = std::make_shared<routing::ReplicaSet>("shard", routing::ReplicaSet::Replicas{shards.replicas[i]});
    }
    const auto router = shards.router();
    const Bytes batch = batches_of_tests().front();
    router->begin(decode_batch(batch), kLong)->finish();  // of which nobody wants spans
    CHECK(ring->take(0s).empty() && of_shards->take(0s).empty());
    router->begin(decode_batch(batch), kLong, nullptr, {}, 0, {}, caller_of(ring))->finish();
    const auto asked = ring->take(0s);
    CHECK(asked.size() == 3 && asked[2].name == "persia.route" && !asked[2].failed);
    CHECK(parent_of(asked[2]) == kParent);
    std::vector<FinishedSpan> answered;
    routing::wait_until([&] {  // a span ends when the answer is on its way
        for (FinishedSpan& span : of_shards->take(0s)) answered.push_back(std::move(span));
        return answered.size() == 2;
    });
    std::set<SpanId> asking, parents;
    for (const FinishedSpan& span : {asked[0], asked[1]}) {
        CHECK(span.name == "persia.ask" && span.parent == asked[2].context.span);
        asking.insert(span.context.span);
    }
    for (const FinishedSpan& span : answered) {
        CHECK(span.name == "persia.shard" && span.context.trace == asked[2].context.trace && !span.failed);
        parents.insert(span.parent);
    }
    CHECK(asking == parents && asking.size() == 2);
}

TEST(a_lookup_that_fails_says_why_in_its_span) {
    Shards shards(2);
    const auto router = shards.router();
    shards.servers[1]->stop();
    const auto ring = std::make_shared<SpanRing>(100);
    const Bytes batch = batches_of_tests().front();
    {
        const auto lookup = router->begin(decode_batch(batch), kLong, nullptr, {}, 0, {}, caller_of(ring));
        CHECK_THROWS(lookup->finish(), grpc::CallFailed);
    }
    const auto spans = ring->take(0s);
    CHECK(!spans.empty() && spans.back().name == "persia.route" && spans.back().failed);
    CHECK(spans.back().problem.starts_with("expected an answer of shard 1 of 2, got none"));
    CHECK_THROWS(router->begin(decode_batch(encoded({{"unknown", {{1}}}})), kLong, nullptr, {}, 0, {}, caller_of(ring)), Error);
    CHECK(ring->take(0s).at(0).problem.find("unknown") != std::string::npos);
}

TEST(a_server_has_spans_of_sampled_callers_alone) {
    const auto ring = std::make_shared<SpanRing>(100);
    const OneShard shard;
    serving::LookupMethod method(shard.context, ring);
    const Bytes request = aligned_message(request_for(AnswerKind::rows, 4, {1, 2, 3}));
    const std::string not_sampled = std::string(kParent).substr(0, 53) + "00";
    for (const auto& call :
         {call_of({}), call_of({{"x", "y"}}), call_of({{"traceparent", not_sampled}}), call_of({{"traceparent", "00-"}}),
          call_of({{"traceparent", kParent}, {"traceparent", kParent}})}) {
        method.on_message(call, received(request));
        CHECK(call->status.ok() && ring->take(0s).empty());
    }
    const auto call = call_of({{"tracestate", "a=1"}, {"traceparent", kParent}, {"tracestate", "b=2"}});
    method.on_message(call, received(request));
    const auto spans = ring->take(0s);
    CHECK(spans.size() == 1 && spans[0].context.state == "a=1,b=2" && spans[0].kind == SpanKind::server);
    CHECK(!serving::begin_call_span(nullptr, call->info(), "x"));
}

TEST(a_refusal_is_in_the_span_of_the_server) {
    const auto ring = std::make_shared<SpanRing>(100);
    const OneShard shard;
    serving::LookupMethod method(shard.context, ring);
    const auto call = call_of({{"traceparent", kParent}});
    method.on_message(call, received(bytes_of_hex("ff")));
    const auto spans = ring->take(0s);
    CHECK(spans.size() == 1 && spans[0].failed && spans[0].problem == call->status.message);
}
