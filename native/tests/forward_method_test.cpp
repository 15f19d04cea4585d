// A middleware's answers, from real shards and over a real server.
#include "serving/forward_method.hpp"

#include <future>
#include <string>
#include <thread>

#include "check.hpp"
#include "persia/id_part.hpp"
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
    CHECK(refusal(middleware, request_of(encoded({})), Code::invalid_argument) ==
          "expected a batch with id features, got one without");
    CHECK(middleware.counts->calls().totals().by_code[static_cast<std::size_t>(Code::invalid_argument)] == 6);
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
