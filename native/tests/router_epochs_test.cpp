// Lookups of servers that follow epochs: each answer is of one, whatever the shards are doing.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "base/half.hpp"
#include "check.hpp"
#include "looking_up.hpp"
#include "routing/epoch_choice.hpp"

using namespace persia;
using routing::EpochWindow;

namespace {

using Windows = std::vector<std::vector<EpochWindow::Range>>;

// In each epoch all rows are those of an earlier one, but for a factor.
void begin_epoch(Shards& shards, std::size_t shard, std::uint64_t epoch) {
    Table& table = *shards.shards[shard]->table;
    table.begin_epoch(layer_of(0, 100, 4, static_cast<float>(epoch)), epoch, table.status().epoch);
}

void tell(Shards& shards, std::size_t shard) {
    const TableStatus status = shards.shards[shard]->table->status();
    shards.replicas[shard]->epochs().note(kStart, {status.epoch_low, status.epoch});
}

Bytes batch_of_sums() { return encoded({{"sums", {range(0, 40), range(20, 50)}}}); }

struct Found {
    std::uint64_t epoch;
    bool is_whole;  // whether all rows are those of the epoch
};

Found look(const Router& router, std::uint64_t min_epoch = 0) {
    const Bytes batch = batch_of_sums();
    const auto lookup = router.begin(decode_batch(batch), kLong, nullptr, {}, min_epoch);
    const LookupResult result = lookup->finish();
    float sum = 0;
    for (std::uint64_t sign = 0; sign < 40; ++sign) sum += value(sign, static_cast<float>(result.epoch));
    std::uint16_t expected = 0;
    to_half(&sum, &expected, 1);
    return {result.epoch, lookup->room()->all()[0] == expected};
}

std::uint64_t naive_common(const Windows& shards) {
    for (std::uint64_t epoch = 12; epoch > 0; --epoch) {
        const bool everywhere = std::ranges::all_of(shards, [&](const auto& windows) {
            return std::ranges::any_of(windows, [&](const EpochWindow::Range& window) { return window.has(epoch); });
        });
        if (everywhere) return epoch;
    }
    return 0;
}

}  // namespace

TEST(the_newest_common_epoch_is_what_a_naive_search_finds) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 20'000; ++round) {
        Windows shards(1 + random() % 4);
        for (auto& windows : shards) {
            windows.resize(1 + random() % 3);
            for (auto& window : windows) {
                window.low = 1 + random() % 10;
                window.high = window.low + random() % 3;
            }
        }
        CHECK(routing::newest_common(shards) == naive_common(shards));
    }
}

TEST(what_a_server_said_counts_by_its_order_and_not_by_its_arrival) {
    EpochWindow window;
    window.note(1, {0, 0});
    CHECK(window.range().high == 0 && !window.range().has(0));
    window.note(1, {3, 7});
    window.note(1, {2, 6});  // was said before
    CHECK(window.range().low == 3 && window.range().high == 7);
    CHECK(window.range().has(3) && window.range().has(7) && !window.range().has(8) && !window.range().has(2));
    window.note(2, {5, 6});  // another start
    CHECK(window.range().low == 5 && window.range().high == 6);
    window.note(3, {0, 0});  // which follows no epochs
    CHECK(window.range().high == 0);
}

TEST(an_answer_is_of_the_newest_epoch_that_all_shards_have) {
    Shards shards(2);
    const auto router = shards.router();
    CHECK(look(*router).epoch == 0);
    for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, 1);
    CHECK(look(*router).epoch == 1);  // nobody has told: each is asked for its newest rows, which are of one epoch
    for (std::uint64_t epoch = 2; epoch < 6; ++epoch) {
        begin_epoch(shards, epoch % 2, epoch);
        const Found before = look(*router);
        CHECK(before.epoch == epoch - 1 && before.is_whole);
        begin_epoch(shards, (epoch + 1) % 2, epoch);
        static_cast<void>(look(*router));  // whose answers tell
        const Found after = look(*router);
        CHECK(after.epoch == epoch && after.is_whole);
    }
}

TEST(shards_that_are_asked_for_their_newest_rows_and_differ_are_asked_again) {
    Shards shards(2);
    const auto router = shards.router();
    begin_epoch(shards, 0, 1);
    begin_epoch(shards, 1, 1);
    begin_epoch(shards, 1, 2);
    const Found found = look(*router);
    CHECK(found.epoch == 1 && found.is_whole);
}

TEST(an_epoch_that_is_gone_is_chosen_anew) {
    Shards shards(2);
    const auto router = shards.router();
    for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, 1);
    CHECK(look(*router).epoch == 1);
    for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, 7);  // a gap: the earlier ones are gone
    const Found found = look(*router);
    CHECK(found.epoch == 7 && found.is_whole);
}

TEST(epochs_of_a_router_never_fall) {
    Shards shards(2);
    const auto router = shards.router();
    for (std::uint64_t epoch = 1; epoch < 4; ++epoch) {
        for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, epoch);
    }
    CHECK(look(*router).epoch == 3);
    shards.replicas[0]->epochs().note(kStart + 1, {1, 2});  // started anew, and stalled at epoch 2
    CHECK(contains(failure(*router, batch_of_sums(), Code::unavailable),
                   "expected an answer of shard 0 of 2, got none: expected one that has epoch 3, " +
                       shards.replicas[0]->address() + " has the epochs 1 to 2"));
    shards.replicas[0]->epochs().note(kStart + 1, {2, 3});
    CHECK(look(*router).epoch == 3);
}

TEST(shards_without_a_common_epoch_fail_lookups_and_name_the_one_that_is_ahead) {
    Shards shards(2);
    const auto router = shards.router();
    for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, 1);
    CHECK(look(*router).epoch == 1);
    begin_epoch(shards, 1, 9);  // it has given up what the other one still has
    tell(shards, 1);
    CHECK(contains(failure(*router, batch_of_sums(), Code::unavailable),
                   "expected an answer of shard 1 of 2, got none: expected one that has epoch 1, " +
                       shards.replicas[1]->address() + " has the epochs 9 to 9"));
    begin_epoch(shards, 0, 9);
    tell(shards, 0);
    const Found found = look(*router);
    CHECK(found.epoch == 9 && found.is_whole);
}

TEST(a_router_that_is_started_anew_reads_at_the_newest_epoch_that_all_have) {
    Shards shards(2);
    for (std::uint64_t epoch = 1; epoch < 5; ++epoch) {
        for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, epoch);
    }
    begin_epoch(shards, 1, 5);
    const auto router = shards.router();
    for (std::size_t shard = 0; shard < 2; ++shard) tell(shards, shard);  // as the first probes do
    const Found found = look(*router);
    CHECK(found.epoch == 4 && found.is_whole);
}

TEST(who_asks_for_a_later_epoch_waits_for_it) {
    Shards shards(2);
    auto options = routing::RouterOptions{};
    options.retry.wait_for_service = std::chrono::seconds(30);
    options.retry.hedge_after = std::chrono::seconds(10);
    const auto router = std::make_shared<Router>(slots_of_tests(), shards.sets, options);
    router->settle({.checkpoint_id = kCheckpoint, .problem = "", .known_starts = {}});
    for (std::size_t shard = 0; shard < 2; ++shard) begin_epoch(shards, shard, 1);
    CHECK(look(*router).epoch == 1);
    std::thread later([&] {
        for (std::size_t shard = 0; shard < 2; ++shard) {
            begin_epoch(shards, shard, 2);
            tell(shards, shard);
        }
    });
    const Found found = look(*router, 2);
    later.join();
    CHECK(found.epoch == 2 && found.is_whole);
    CHECK(look(*router).epoch == 2);
}

TEST(servers_without_epochs_have_none_that_somebody_could_ask_for) {
    Shards shards(2);
    const auto router = shards.router();
    begin_epoch(shards, 0, 1);  // the other one follows none
    CHECK(look(*router).epoch == 0);
    try {
        static_cast<void>(look(*router, 1));
        CHECK(!"it failed");
    } catch (const grpc::CallFailed& error) {
        CHECK(std::string(error.what()) ==
              "expected rows of epoch 1 or a later one, got rows of servers that follow no epochs");
    }
}

TEST(a_replica_that_lags_is_not_asked_for_what_it_has_not) {
    Shards shards(1), ahead(1);
    auto set = std::make_shared<routing::ReplicaSet>("shard 0 of 1",
                                                     routing::ReplicaSet::Replicas{shards.replicas[0], ahead.replicas[0]});
    auto options = routing::RouterOptions{};
    options.retry.hedge_after = std::chrono::milliseconds(0);  // whoever may be asked is
    const auto router =
        std::make_shared<Router>(slots_of_tests(), std::vector<std::shared_ptr<routing::ReplicaSet>>{set}, options);
    router->settle({.checkpoint_id = kCheckpoint, .problem = "", .known_starts = {}});
    begin_epoch(shards, 0, 1);
    for (std::uint64_t epoch = 1; epoch < 4; ++epoch) begin_epoch(ahead, 0, epoch);
    tell(shards, 0);
    tell(ahead, 0);
    const auto before = shards.shards[0]->context->totals().lookups;
    for (int i = 0; i < 50; ++i) {
        const Found found = look(*router);
        CHECK(found.epoch == 3 && found.is_whole);
    }
    CHECK(shards.shards[0]->context->totals().lookups == before);
}

TEST(no_answer_is_mixed_while_shards_begin_epochs_at_their_own_pace) {
    Shards shards(3);
    const auto router = shards.router();
    for (std::size_t shard = 0; shard < 3; ++shard) begin_epoch(shards, shard, 1);
    CHECK(look(*router).epoch == 1);
    std::atomic<bool> done = false;
    std::atomic<std::size_t> wrong = 0, fallen = 0, newest = 0;
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i) {
        readers.emplace_back([&] {
            std::uint64_t last = 0;
            while (!done) {
                const Found found = look(*router);
                if (!found.is_whole) ++wrong;
                if (found.epoch < last) ++fallen;
                last = found.epoch;
                newest = std::max<std::size_t>(newest, found.epoch);
            }
        });
    }
    std::mt19937_64 random(5);
    for (std::uint64_t epoch = 2; epoch < 60; ++epoch) {
        std::vector<std::size_t> order{0, 1, 2};
        std::shuffle(order.begin(), order.end(), random);
        for (const std::size_t shard : order) {
            begin_epoch(shards, shard, epoch);
            std::this_thread::yield();
        }
    }
    while (newest < 59) std::this_thread::yield();
    done = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0 && fallen == 0);
}
