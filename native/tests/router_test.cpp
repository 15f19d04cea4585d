// Lookups of whole batches, from real servers.
#include "routing/router.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <string>
#include <thread>

#include "check.hpp"
#include "looking_up.hpp"

using namespace persia;

namespace {

// A table that has the rows of a batch's signs.
std::unique_ptr<Table> table_with(const Plan& plan) {
    TableBuilder builder({});
    for (const PlannedRequest& request : plan.shards) {
        std::size_t at = 0;
        for (const RequestPart& part : request.parts) {
            for (std::uint32_t i = 0; i < part.signs; ++i, ++at) {
                const std::uint64_t sign = request.signs[at];
                if (sign % 5 == 4) continue;
                put_range(sign, sign + 1, part.dim, 0.5F, [&](const RowBlock& block) { builder.put(block); });
            }
        }
    }
    return std::make_unique<Table>(builder);
}

Bytes content_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST(lookups_give_what_is_put_together_without_servers) {
    for (const std::uint32_t count : {1U, 3U}) {
        const Shards shards(count);
        const auto router = shards.router();
        std::uint64_t ids = 0;
        for (const Bytes& batch : batches_of_tests()) {
            const Expected expected = expected_of(batch, *slots_of_tests(), shards);
            std::vector<std::uint16_t> numbers;
            const LookupResult result = look_up(*router, batch, kLong, numbers);
            CHECK(numbers == expected.numbers);
            CHECK(result.misses.absent == expected.misses.absent && result.misses.wrong_dim == expected.misses.wrong_dim);
            CHECK(result.missing_shards.empty() && result.versions.size() == count && result.checkpoint_id == kCheckpoint);
            const std::size_t features = decode_batch(batch).features.size();
            CHECK(result.counts.size() == 4 * features && result.asking_seconds > 0);
            std::uint64_t absent = 0, wrong_dim = 0;
            for (std::size_t i = 0; i < features; ++i) {
                ids += result.counts[4 * i];
                absent += result.counts[4 * i + 1];
                wrong_dim += result.counts[4 * i + 2];
            }
            CHECK(absent == result.misses.absent && wrong_dim == result.misses.wrong_dim);
        }
        std::uint64_t counted = 0;
        for (const FeatureCount& feature : router->feature_counts().totals()) counted += feature.ids;
        CHECK(counted == ids && ids > 0);
    }
}

TEST(golden_batches_are_looked_up) {
    for (const char* name : {"batch1_0.bin", "batch16_0.bin", "batch256_0.bin", "duplicates.bin", "huge_ids.bin"}) {
        const Bytes batch = content_of(std::filesystem::path(PERSIA_TEST_DATA) / "golden" / "mix" / "golden" / name);
        std::vector<Slot> all;
        for (const FeatureView& feature : decode_batch(batch).features) {
            all.push_back({.name = std::string(feature.name), .dim = 16, .summation = all.size() % 2 == 0});
        }
        const auto slots = std::make_shared<const Slots>(all, 8);
        const Plan plan = make_plan(decode_batch(batch), *slots, 2);
        const Shards shards(2, [&] { return table_with(plan); });
        const auto router = shards.router(false, slots);
        std::vector<std::uint16_t> numbers;
        const LookupResult result = look_up(*router, batch, kLong, numbers);
        CHECK(numbers == expected_of(batch, *slots, shards).numbers);
        CHECK(std::ranges::any_of(numbers, [](std::uint16_t number) { return number != 0; }));
        CHECK(result.misses.wrong_dim == 0);
    }
}

TEST(a_batch_that_does_not_fit_is_refused_before_anybody_is_asked) {
    const Shards shards(1);
    const auto router = shards.router();
    const Bytes unknown = encoded({{"other", {{1}}}});
    CHECK_THROWS(router->begin(decode_batch(unknown), kLong), FeatureError);
    const Bytes batch = batches_of_tests()[0];
    constexpr std::size_t kTensors = sizeof(std::uint16_t) * (3 * 4 + 3 * 10 * 6);
    CHECK_THROWS(router->begin(decode_batch(batch), kLong, std::make_shared<grpc::MemoryBudget>(kTensors - 1)),
                 grpc::CallFailed);
    const auto budget = std::make_shared<grpc::MemoryBudget>(kTensors);
    const auto lookup = router->begin(decode_batch(batch), kLong, budget);
    CHECK(budget->used() == kTensors);
    CHECK_THROWS(lookup->finish(), grpc::CallFailed);  // there is nothing left for what the shard would send
    CHECK(shards.shards[0]->context->totals().lookups == 0);
}

TEST(a_shard_that_is_gone_is_an_error_or_zeros) {
    Shards shards(2);
    const Bytes batch = batches_of_tests()[0];
    shards.servers[1]->stop();
    const std::string text = failure(*shards.router(), batch, Code::unavailable);
    CHECK(contains(text, "expected an answer of shard 1 of 2, got none: " + shards.servers[1]->address()));
    const auto router = shards.router(true);
    std::vector<std::uint16_t> numbers;
    const LookupResult result = look_up(*router, batch, kLong, numbers);
    CHECK((result.missing_shards == std::vector<std::uint32_t>{1}) && result.versions[1] == 0);
    CHECK(numbers == expected_of(batch, *slots_of_tests(), shards, 1).numbers);
    CHECK(result.checkpoint_id == kCheckpoint);
    // Ids count where they were looked up.
    const auto slots = slots_of_tests();
    const Plan plan = make_plan(decode_batch(batch), *slots, 2);
    CHECK(result.counts[0] + result.counts[4] == plan.shards[0].signs.size());
}

TEST(a_shard_that_is_silent_is_an_error_or_zeros) {
    Shards shards(2);
    const Served silent(kLookupPath, std::make_shared<Silent>());
    shards.sets[1]->set_replicas({ready_replica(silent.address())});
    const Bytes batch = batches_of_tests()[0];
    const std::string text = failure(*shards.router(), batch, Code::deadline_exceeded, 0.2);
    CHECK(contains(text, "shard 1 of 2") && contains(text, silent.address()));  // the server's words, or the client's
    std::vector<std::uint16_t> numbers;
    const LookupResult result = look_up(*shards.router(true), batch, 0.2, numbers);
    CHECK((result.missing_shards == std::vector<std::uint32_t>{1}));
    CHECK(numbers == expected_of(batch, *slots_of_tests(), shards, 1).numbers);
}

TEST(what_a_server_refuses_is_told_with_its_name) {
    const Shards shards(1, table_for_requests, 10);
    const std::string text = failure(*shards.router(), batches_of_tests()[0], Code::resource_exhausted);
    CHECK(
        contains(text, "shard 0 of 1 at " + shards.servers[0]->address() + ": expected an answer of at most 10 numbers, got"));
    static_cast<void>(failure(*shards.router(true), batches_of_tests()[0], Code::resource_exhausted));  // zeros would not do
}

TEST(spoiled_answers_are_none) {
    Shards shards(1);
    const auto router = shards.router();
    const Bytes batch = encoded({{"sums", {{0, 4, 8, 1}}}});  // one of them of another dim
    const auto without = [](unsigned field) {
        return [field](const Bytes& answer) {
            wire::LookupResponse response(answer);
            std::vector<RunMisses> misses(response.misses().size() / sizeof(RunMisses) + (field == 8 ? 1 : 0));
            auto numbers = std::as_bytes(response.numbers());
            if (field == 2) numbers = numbers.first(numbers.size() - 4);
            return joined(wire::encode_lookup_response(response.facts(), misses, numbers, nullptr));
        };
    };
    const std::pair<SpoilingMethod::Spoil, std::string> spoils[] = {
        {[](const Bytes&) { return bytes_of_hex("12ff"); }, "at byte 1: expected the length of a field"},
        {[](const Bytes&) { return Bytes(); }, "expected one of checkpoint"},
        {without(2), "numbers of 4 bytes, got"},
        {without(8), "expected misses of 1 parts in 8 bytes, got 16"},
        {[](Bytes answer) {
             answer.pop_back();
             return answer;
         },
         "at byte"}};
    for (const auto& [spoil, words] : spoils) {
        be_well_again(shards);
        shards.spoilers[0]->spoil = spoil;
        const std::string text = failure(*router, batch, Code::unavailable);
        CHECK(contains(text, "shard 0 of 1") && contains(text, "an invalid answer: ") && contains(text, words));
    }
    shards.spoilers[0]->spoil = nullptr;
    be_well_again(shards);
    std::vector<std::uint16_t> numbers;
    CHECK(look_up(*router, batch, kLong, numbers).misses.wrong_dim == 1);
    CHECK(numbers == expected_of(batch, *slots_of_tests(), shards).numbers);
}

TEST(a_lookup_may_be_given_up_and_its_room_kept) {
    Shards shards(1);
    const Served silent(kLookupPath, std::make_shared<Silent>());
    shards.sets[0]->set_replicas({ready_replica(silent.address())});
    const auto router = shards.router();
    std::shared_ptr<const routing::Room> room;
    {
        const Bytes batch = batches_of_tests()[0];
        const auto lookup = router->begin(decode_batch(batch), kLong);
        room = lookup->room();
    }
    CHECK(room->tensors.size == 3 * 4 + 3 * 10 * 6 && (room->tensors.shapes == std::vector<std::uint32_t>{3, 0, 4, 3, 10, 6}));
}

TEST(what_is_thrown_while_it_waits_ends_a_lookup) {
    Shards shards(1);
    const Served silent(kLookupPath, std::make_shared<Silent>());
    shards.sets[0]->set_replicas({ready_replica(silent.address())});
    const Bytes batch = batches_of_tests()[0];
    const auto lookup = shards.router()->begin(decode_batch(batch), kLong);
    CHECK_THROWS(lookup->finish({.look = [] { throw TooLarge("enough"); }}), TooLarge);
}
