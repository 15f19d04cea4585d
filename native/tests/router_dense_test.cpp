// Lookups for versions of dense models: each is answered from an epoch whose record names its version, at every moment of a
// switch.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "looking_up.hpp"

using namespace persia;
using serving::ReadableEpochs;
using wire::RowsFor;

namespace {

constexpr std::uint64_t kModel = 7;
constexpr RowsFor kOld{kModel, 1}, kNew{kModel, 2};

// Two shards that begin epochs at their own pace, and what records name in each epoch.
class Deployed {
  public:
    // A record of the next epoch, which no shard has yet.
    std::uint64_t commit(std::uint64_t version) {
        const std::lock_guard lock(mutex_);
        if (version != versions_.back()) changes_.push_back({versions_.size(), kModel, version});
        versions_.push_back(version);
        return versions_.size() - 1;
    }

    void build(std::size_t shard, std::uint64_t epoch) {
        {
            const std::lock_guard lock(mutex_);
            shards.shards[shard]->context->set_readable(ReadableEpochs(changes_));
        }
        Table& table = *shards.shards[shard]->table;
        table.begin_epoch(layer_of(0, 100, 4, static_cast<float>(epoch)), epoch, table.status().epoch);
    }

    void commit_and_build(std::uint64_t version) {
        const std::uint64_t epoch = commit(version);
        for (std::size_t shard = 0; shard < shards.shards.size(); ++shard) build(shard, epoch);
    }

    bool may_read(const RowsFor& dense, std::uint64_t epoch) const {
        const std::lock_guard lock(mutex_);
        return epoch != 0 && (versions_.at(epoch) == 0 || versions_.at(epoch) == dense.version);
    }

    Shards shards{2};

  private:
    mutable std::mutex mutex_;
    std::vector<std::uint64_t> versions_{0};
    std::vector<ReadableEpochs::DenseChange> changes_;
};

std::uint64_t epoch_read(const Router& router, const RowsFor& dense, std::uint64_t min_epoch = 0) {
    const Bytes batch = encoded({{"sums", {range(0, 40), range(20, 50)}}});
    return router.begin(decode_batch(batch), kLong, nullptr, {}, min_epoch, dense)->finish().epoch;
}

std::string why_not(const Router& router, const RowsFor& dense) {
    try {
        static_cast<void>(epoch_read(router, dense));
    } catch (const grpc::CallFailed& error) {
        CHECK(error.status.code == Code::unavailable);
        return error.what();
    }
    CHECK(!"it failed");
    return {};
}

}  // namespace

TEST(each_version_reads_the_newest_epoch_that_names_it) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    // The first answer tells of new epochs, the second one is of them.
    const auto read = [&](const RowsFor& dense) {
        static_cast<void>(epoch_read(*router, dense));
        return epoch_read(*router, dense);
    };
    deployed.commit_and_build(0);
    CHECK(read(kOld) == 1 && read(kNew) == 1);  // no version is named
    deployed.commit_and_build(kOld.version);
    CHECK(read(kOld) == 2 && read(kNew) == 1 && read({}) == 2);
    const std::uint64_t third = deployed.commit(kNew.version);
    deployed.build(0, third);
    CHECK(read(kOld) == 2 && read(kNew) == 1 && read({}) == 2);  // one of two shards has it
    deployed.build(1, third);
    CHECK(read(kOld) == 2 && read(kNew) == 3 && read({}) == 3);
    deployed.commit_and_build(kOld.version);  // and back
    CHECK(read(kOld) == 4 && read(kNew) == 3 && read({}) == 4);
}

TEST(a_version_that_no_record_names_is_told_so) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    deployed.commit_and_build(kOld.version);
    CHECK(contains(why_not(*router, kNew), "expected an epoch whose record names this version of the dense model"));
    CHECK(epoch_read(*router, {kModel + 1, 9}) == 1);  // of a model that no record speaks of
    deployed.commit_and_build(kNew.version);
    CHECK(epoch_read(*router, kNew) == 2);
}

TEST(a_server_does_not_answer_a_version_from_an_epoch_of_another_one) {
    Deployed deployed;
    deployed.commit_and_build(kOld.version);
    deployed.commit_and_build(kNew.version);
    const auto router = deployed.shards.router();
    // As from a router that has been told lies.
    router->epochs().of(kOld)->note({1, 2});
    for (const auto& replica : deployed.shards.replicas) replica->epochs().note(kStart, {1, 2});
    CHECK(contains(why_not(*router, kOld), "expected rows of one epoch"));
}

TEST(servers_are_watched_for_those_who_ask) {
    Deployed deployed;
    const auto router = deployed.shards.router();
    CHECK(router->epochs().watched().empty());
    deployed.commit_and_build(kOld.version);
    static_cast<void>(epoch_read(*router, kOld));
    CHECK((router->epochs().watched() == std::vector<RowsFor>{kOld}));
    deployed.commit_and_build(kOld.version);
    router->epochs().note(kOld, {1, 2});
    for (const auto& replica : deployed.shards.replicas) replica->epochs().note(kStart, {1, 2});
    CHECK(epoch_read(*router, kOld) == 2);  // by what a probe has said
    for (std::uint64_t version = 0; version < 2 * routing::EpochChoices::kMost; ++version) router->epochs().of({1, version});
    CHECK(router->epochs().watched().size() == routing::EpochChoices::kMost);
}

TEST(no_pair_is_wrong_while_shards_begin_epochs_of_either_version_at_their_own_pace) {
    constexpr std::uint64_t kLast = 8;  // so few that tables give none of them up, however long a reader stands still
    Deployed deployed;
    const auto router = deployed.shards.router();
    deployed.commit_and_build(0);
    std::atomic<bool> done = false;
    std::atomic<std::size_t> wrong = 0, fallen = 0;
    std::atomic<std::uint64_t> newest = 0;
    std::vector<std::thread> readers;
    for (const RowsFor& dense : {kOld, kNew, RowsFor{}}) {
        readers.emplace_back([&, dense] {
            std::uint64_t last = 0;
            while (!done) {
                const std::uint64_t epoch = epoch_read(*router, dense);
                if (dense.is_said() && !deployed.may_read(dense, epoch)) ++wrong;
                if (epoch < last) ++fallen;
                last = epoch;
                if (!dense.is_said()) newest = epoch;
            }
        });
    }
    std::mt19937_64 random(5);
    while (true) {
        const std::uint64_t epoch = deployed.commit(1 + random() % 2);
        std::vector<std::size_t> order{0, 1};
        std::shuffle(order.begin(), order.end(), random);
        for (const std::size_t shard : order) {
            deployed.build(shard, epoch);
            std::this_thread::yield();
        }
        if (epoch == kLast) break;
    }
    while (newest < kLast) std::this_thread::yield();
    done = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0 && fallen == 0);
}
