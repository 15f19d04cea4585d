// Lookups while servers hold different checkpoints.
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

TEST(answers_of_other_checkpoints_and_servers_do_not_count) {
    Shards shards(1);
    const Bytes batch = batches_of_tests()[0];
    const auto router = shards.router();
    std::vector<std::uint16_t> numbers;
    router->settle({.checkpoint_id = 7, .problem = "", .known_starts = {}});
    CHECK(contains(failure(*router, batch, Code::unavailable),
                   "an invalid answer: expected one of checkpoint 0000000000000007, got one of 0102030405060708"));
    be_well_again(shards);
    router->settle({.checkpoint_id = kCheckpoint, .problem = "", .known_starts = {{1, 2}}});
    CHECK(contains(failure(*router, batch, Code::unavailable),
                   "an invalid answer: of a server that the middleware does not ask"));
    be_well_again(shards);
    router->settle({.checkpoint_id = kCheckpoint, .problem = "", .known_starts = {{1, kStart}}});
    CHECK(look_up(*router, batch, kLong, numbers).checkpoint_id == kCheckpoint);
    router->settle({.checkpoint_id = 7, .problem = "the checkpoints differ", .known_starts = {}});
    CHECK(failure(*router, batch, Code::unavailable) == "the checkpoints differ");
}

// The second shard answers when the answer of the first one was taken, and from another checkpoint.
TEST(rows_of_two_checkpoints_are_never_put_together) {
    for (const bool lasting : {false, true}) {
        Shards shards(2);
        const auto router = shards.router();
        std::atomic<std::uint64_t> checkpoint = kCheckpoint;
        std::atomic<int> asked = 0;
        shards.spoilers[1]->spoil = [&](const Bytes& answer) {
            wire::LookupResponse response(answer);
            wire::LookupFacts facts = response.facts();
            if (++asked == 1 || lasting) {
                while (shards.replicas[0]->idle_connections() == 0) std::this_thread::yield();
                ++checkpoint;
                shards.shards[0]->context->open(*shards.shards[0]->table, checkpoint);
                router->settle({.checkpoint_id = checkpoint, .problem = "", .known_starts = {}});
            }
            facts.checkpoint_id = checkpoint;
            std::vector<RunMisses> misses(response.misses().size() / sizeof(RunMisses));
            std::memcpy(misses.data(), response.misses().data(), response.misses().size());
            return joined(wire::encode_lookup_response(facts, misses, std::as_bytes(response.numbers()), nullptr));
        };
        const Bytes batch = batches_of_tests()[0];
        if (lasting) {
            CHECK(failure(*router, batch, Code::unavailable) ==
                  "expected rows of one checkpoint, got rows of several: the servers are being restarted");
            CHECK(asked == 3);
        } else {
            std::vector<std::uint16_t> numbers;
            CHECK(look_up(*router, batch, kLong, numbers).checkpoint_id == kCheckpoint + 1);
            CHECK(numbers == expected_of(batch, *slots_of_tests(), shards).numbers && asked == 2);
        }
    }
}

TEST(many_threads_look_up_while_checkpoints_are_settled) {
    Shards shards(2);
    const auto router = shards.router();
    const std::vector<Bytes> batches = batches_of_tests();
    std::vector<Expected> expected;
    for (const Bytes& batch : batches) expected.push_back(expected_of(batch, *slots_of_tests(), shards));
    std::atomic<std::size_t> wrong = 0, done = 0;
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            for (std::size_t i = 0; i < 60; ++i) {
                const std::size_t k = (i + t) % batches.size();
                std::vector<std::uint16_t> numbers;
                static_cast<void>(look_up(*router, batches[k], kLong, numbers));
                if (numbers != expected[k].numbers) ++wrong;
                ++done;
            }
        });
    }
    while (done < 180) {
        router->settle({.checkpoint_id = kCheckpoint, .problem = "", .known_starts = {{kStart}}});
        std::this_thread::yield();
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
}
