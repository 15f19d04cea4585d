// A middleware's answers, from real shards and over a real server.
#include "serving/forward_method.hpp"

#include <future>
#include <string>
#include <thread>

#include "batch/id_part.hpp"
#include "check.hpp"
#include "shard_servers.hpp"

using namespace persia;
using grpc::Code;

namespace {

constexpr char kForwardPath[] = "/persia.v1.Middleware/Forward";
constexpr double kLong = 30;  // seconds: nothing here takes so long
constexpr std::uint64_t kConfig = 0x99;

struct Middleware {
    explicit Middleware(std::uint32_t count = 2, bool zeros = false)
        : shards(count), router(shards.router(zeros)),
          counts(std::make_shared<serving::ForwardCounts>(std::vector<double>{0.001, 10.0})),
          method(std::make_shared<serving::ForwardMethod>(router, kConfig, kLong, counts)) {}

    Shards shards;
    std::shared_ptr<routing::Router> router;
    std::shared_ptr<serving::ForwardCounts> counts;
    std::shared_ptr<serving::ForwardMethod> method;
};

Bytes request_of(const Bytes& batch, std::uint32_t timeout_ms = 0) {
    return joined(wire::encode_forward_request({.batch = batch, .timeout_ms = timeout_ms}, nullptr));
}

Bytes ids_of(const Bytes& batch) {
    Writer out;
    encode_ids(decode_batch(batch), out);
    return {out.view().begin(), out.view().end()};
}

// A request for ten times so many rows, each of five numbers.
constexpr std::size_t kRowBytes = 5 * sizeof(float);
Bytes request_for_rows(std::uint64_t tens, std::uint32_t timeout_ms = 0) {
    Samples samples;
    for (std::uint64_t i = 0; i < tens; ++i) samples.push_back(range(10 * i, 10 * i + 10));
    const Bytes ids = ids_of(encoded({{"raw", samples}}));
    return joined(wire::encode_forward_request({.ids = ids, .timeout_ms = timeout_ms}, nullptr));
}

std::string refusal(Middleware& middleware, const Bytes& message, Code code) {
    const auto call = call_with(*middleware.method, message);
    CHECK(call->ended && !call->sent && call->status.code == code);
    return call->status.message;
}

bool is_answer(std::span<const std::byte> message, const Bytes& batch, const Shards& shards) {
    wire::ForwardResponse response(message);
    const Expected expected = expected_of(batch, *slots_of_tests(), shards);
    return response.problem().empty() && std::ranges::equal(response.tensors(), expected.numbers) &&
           response.facts().versions.size() == shards.shards.size() && response.facts().missing_shards.empty() &&
           response.facts().misses.absent == expected.misses.absent && response.facts().embedding_config_id == kConfig &&
           response.facts().checkpoint_id == kCheckpoint && response.counts().size() == response.shapes().size() / 3 * 4;
}

}  // namespace

TEST(batches_and_their_ids_are_answered_over_a_connection) {
    const Middleware middleware;
    const Served served(kForwardPath, middleware.method);
    const auto replica = ready_replica(served.address());
    for (const Bytes& batch : batches_of_tests()) {
        const Bytes ids = ids_of(batch);
        for (const wire::ForwardRequest& request : {wire::ForwardRequest{.batch = batch}, wire::ForwardRequest{.ids = ids}}) {
            const grpc::Reply reply = replica->call(kForwardPath, wire::encode_forward_request(request, nullptr), kLong);
            CHECK(reply.status.ok() && is_answer(reply.message.bytes(), batch, middleware.shards));
        }
    }
    CHECK(middleware.counts->calls().totals().by_code[0] == 6);
    CHECK(served.server().counts().memory_bytes == 0 || served.server().counts().calls > 0);
}

TEST(requests_that_are_wrong_are_refused) {
    Middleware middleware;
    const Bytes batch = batches_of_tests()[0], ids = ids_of(batch);
    CHECK(refusal(middleware, {}, Code::invalid_argument) == "expected either a batch or its ids, got neither");
    CHECK(refusal(middleware, joined(wire::encode_forward_request({.batch = batch, .ids = ids}, nullptr)),
                  Code::invalid_argument) == "expected either a batch or its ids, got both");
    CHECK(refusal(middleware, bytes_of_hex("0aff"), Code::invalid_argument).starts_with("at byte 1: "));
    CHECK(refusal(middleware, request_of(Bytes(5)), Code::invalid_argument).starts_with("at byte "));
    CHECK(refusal(middleware, request_of(encoded({{"other", {{1}}}})), Code::invalid_argument) ==
          "'other': the embedding config has no slot of this name");
    CHECK(refusal(middleware, request_of(encoded({})), Code::invalid_argument) == "the batch has no id features");
    CHECK(middleware.counts->calls().totals().by_code[static_cast<std::size_t>(Code::invalid_argument)] == 6);
}

TEST(a_client_that_takes_no_floats_is_refused_before_any_shard_is_asked) {
    const Shards shards(1);
    const auto slots = std::make_shared<const Slots>(
        std::vector<Slot>{{.name = "exact", .dim = 4, .f32 = true}, {.name = "plain", .dim = 4}}, 8);
    const auto counts = std::make_shared<serving::ForwardCounts>(std::vector<double>{0.001, 10.0});
    serving::ForwardMethod method(shards.router(false, slots), kConfig, kLong, counts);
    const auto call = call_with(method, request_of(encoded({{"plain", {{1}}}, {"exact", {{1}}}})));
    CHECK(call->status.code == Code::invalid_argument);
    CHECK(call->status.message.starts_with("'exact': the embedding config has `output: f32`"));
    CHECK(shards.servers[0]->server().counts().accepted == 0);
    CHECK(call_with(method, request_of(encoded({{"plain", {{1}}}})))->status.ok());  // it asks for no floats
}

TEST(a_lookup_takes_no_longer_than_its_caller_waits) {
    Middleware middleware;
    const Served silent(kLookupPath, std::make_shared<Silent>());
    for (const auto& set : middleware.shards.sets) set->set_replicas({ready_replica(silent.address())});
    const Bytes batch = batches_of_tests()[0];
    CHECK(refusal(middleware, request_of(batch, 50), Code::deadline_exceeded).find("in time") != std::string::npos);
    const auto call = std::make_shared<FakeCall>();
    call->call_info.deadline = grpc::Clock::now() + std::chrono::milliseconds(50);
    middleware.method->on_message(call, received(request_of(batch, 60'000)));
    CHECK(call->status.code == Code::deadline_exceeded);
}

TEST(a_lookup_that_nobody_waits_for_any_more_ends) {
    Middleware middleware;
    const Served silent(kLookupPath, std::make_shared<Silent>());
    for (const auto& set : middleware.shards.sets) set->set_replicas({ready_replica(silent.address())});
    const auto call = std::make_shared<FakeCall>();
    std::thread caller([&] {
        while (silent.server().counts().calls == 0) std::this_thread::yield();
        call->ended = true;
    });
    middleware.method->on_message(call, received(request_of(batches_of_tests()[0])));  // not as long as it might
    caller.join();
    CHECK(!call->sent && call->status.code == Code::cancelled);
    middleware.method->on_message(call, received(request_of(batches_of_tests()[0])));
    CHECK(middleware.counts->calls().totals().dropped == 1);
}

TEST(shards_need_not_go_on_when_a_client_has_gone) {
    const Middleware middleware;
    const Served silent(kLookupPath, std::make_shared<Silent>());
    for (const auto& set : middleware.shards.sets) set->set_replicas({ready_replica(silent.address())});
    const Served served(kForwardPath, middleware.method);
    for (const bool resets : {true, false}) {
        const std::uint64_t before = silent.server().counts().cancelled;
        auto taken = ready_replica(served.address())->take_connection();
        grpc::OutgoingMessage message;
        message.append(request_of(batches_of_tests()[0]));
        taken.connection->begin({.path = kForwardPath, .message = std::move(message)});
        while (silent.server().counts().calls < 2) {
            taken.connection->advance();
            std::this_thread::yield();
        }
        if (resets) {
            taken.connection->cancel();
        } else {
            taken.connection.reset();  // the connection is lost
        }
        while (silent.server().counts().cancelled < before + 2 || silent.server().counts().calls != 0)
            std::this_thread::yield();
    }
    CHECK(silent.server().counts().finished == silent.server().counts().cancelled);
}

TEST(a_lookup_looks_often_whether_its_caller_still_waits) {
    Middleware middleware;
    const Served silent(kLookupPath, std::make_shared<Silent>());
    for (const auto& set : middleware.shards.sets) set->set_replicas({ready_replica(silent.address())});
    const auto call = call_with(*middleware.method, request_of(batches_of_tests()[0], 300));
    CHECK(call->status.code == Code::deadline_exceeded && call->looks > 3);
}

TEST(memory_for_tensors_is_taken_of_the_servers) {
    Middleware middleware;
    const Bytes batch = encoded({{"raw", Samples(1000, {1, 2})}});  // 120 kB of tensors
    const auto budget = std::make_shared<grpc::MemoryBudget>(300'000);
    {
        const auto call = call_with(*middleware.method, request_of(batch), budget);
        CHECK(call->status.ok() && budget->used() >= 120'000);
        const auto pieces = call->sent->pieces();
        CHECK(pieces.back().bytes.size() == 120'000);  // from where they were put together
    }
    CHECK(budget->used() == 0);
    const auto refused = call_with(*middleware.method, request_of(batch), std::make_shared<grpc::MemoryBudget>(100'000));
    CHECK(refused->status.code == Code::resource_exhausted && refused->trailers.size() == 1);
}

TEST(memory_for_what_shards_send_is_taken_of_the_servers_before_they_are_asked) {
    Middleware middleware;
    const Served silent(kLookupPath, std::make_shared<Silent>());
    for (const auto& set : middleware.shards.sets) set->set_replicas({ready_replica(silent.address())});
    const Bytes message = request_for_rows(2'000, 100);
    std::size_t most = 0;
    const auto budget = std::make_shared<grpc::MemoryBudget>(10'000'000);
    std::thread asker([&] { call_with(*middleware.method, message, budget); });
    while (silent.server().counts().calls < 2) std::this_thread::yield();
    most = budget->used();
    asker.join();
    CHECK(most > 20'000 * kRowBytes + 4 * message.size());
    CHECK(budget->used() == 0);

    const std::uint64_t asked = silent.server().counts().accepted;
    const auto refused = call_with(*middleware.method, message, std::make_shared<grpc::MemoryBudget>(most / 2));
    CHECK(refused->status.code == Code::resource_exhausted && refused->trailers.size() == 1);
    CHECK(refused->trailers.front().first == "grpc-retry-pushback-ms");
    CHECK(silent.server().counts().accepted == asked);
}

TEST(shards_that_send_more_than_they_were_asked_for_find_a_bound) {
    Middleware middleware(1);
    middleware.shards.spoilers[0]->spoil = [](Bytes answer) {
        const Bytes more = bytes_of_hex("fa01808080080000");  // field 31, of 16 MiB
        answer.insert(answer.end(), more.begin(), more.end() - 1);
        answer.resize(answer.size() + (16 << 20));
        return answer;
    };
    const auto budget = std::make_shared<grpc::MemoryBudget>(10'000'000);
    CHECK(call_with(*middleware.method, request_for_rows(10), budget)->status.code == Code::resource_exhausted);
    CHECK(budget->used() == 0);
}

TEST(many_large_lookups_at_a_time_are_answered_or_refused) {
    const Middleware middleware;
    grpc::ServerLimits limits;
    limits.workers = 8;
    limits.max_memory_bytes = 4'000'000;
    const Served served(kForwardPath, middleware.method, limits);
    const Bytes message = request_for_rows(2'000);
    const auto replica = ready_replica(served.address());
    constexpr int kCallers = 16, kCalls = 20;
    std::atomic<int> answered = 0, refused = 0, other = 0;
    std::vector<std::thread> callers;
    for (int i = 0; i < kCallers; ++i) {
        callers.emplace_back([&] {
            for (int call = 0; call < kCalls; ++call) {
                grpc::OutgoingMessage request;
                request.append(message);
                const grpc::Reply reply = replica->call(kForwardPath, std::move(request), kLong);
                const bool overloaded = reply.status.code == Code::resource_exhausted && reply.pushback;
                ++(reply.status.ok() ? answered : overloaded ? refused : other);
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(answered > 0 && refused > 0 && other == 0);
    while (served.server().counts().calls != 0) std::this_thread::yield();
    CHECK(served.server().counts().memory_bytes == 0);
}

TEST(missing_shards_are_told_and_counted) {
    Middleware middleware(2, true);
    middleware.shards.servers[1]->stop();
    const Bytes batch = batches_of_tests()[0];
    const auto call = call_with(*middleware.method, request_of(batch));
    CHECK(call->status.ok());
    const auto came = received(joined(*call->sent));
    wire::ForwardResponse response(came.bytes());
    CHECK((response.facts().missing_shards == std::vector<std::uint64_t>{1}));
    CHECK(std::ranges::equal(response.tensors(), expected_of(batch, *slots_of_tests(), middleware.shards, 1).numbers));
    const auto totals = middleware.counts->totals();
    CHECK(totals.without_shard == 1 && totals.misses.absent == response.facts().misses.absent && totals.misses.absent > 0);
    CHECK(totals.asking.nanoseconds > 0);
}

TEST(what_shards_refuse_is_passed_on) {
    Middleware middleware(1);
    middleware.router->settle({.checkpoint_id = 7, .problem = "the checkpoints differ", .known_starts = {}});
    CHECK(refusal(middleware, request_of(batches_of_tests()[0]), Code::unavailable) == "the checkpoints differ");
    CHECK(middleware.method->work_of(received(Bytes(1000))) > 4000);
}
