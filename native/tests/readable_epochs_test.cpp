// Which epochs a version of a dense model may read: as servers know it from records, and as routers hear of it.
#include <random>
#include <vector>

#include "check.hpp"
#include "routing/epoch_runs.hpp"
#include "serving/dense_epochs.hpp"

using namespace persia;
using routing::EpochRuns;
using serving::DenseEpochs;
using wire::DenseId;
using wire::EpochRun;

namespace {

constexpr std::uint64_t kEpochs = 30;

// What records name in each epoch, by its number; 0: no version of the model.
std::vector<std::uint64_t> random_versions(std::mt19937_64& random) {
    std::vector<std::uint64_t> versions(kEpochs + 1);
    for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
        versions[epoch] = random() % 4 == 0 ? random() % 3 : versions[epoch - 1];
    }
    return versions;
}

DenseEpochs epochs_of(const std::vector<std::uint64_t>& versions, std::uint64_t model) {
    std::vector<DenseEpochs::Change> changes;
    for (std::uint64_t epoch = 1; epoch < versions.size(); ++epoch) {
        if (versions[epoch] != versions[epoch - 1]) changes.push_back({epoch, {model, versions[epoch]}});
    }
    return DenseEpochs(changes);
}

bool may_read(const std::vector<std::uint64_t>& versions, const DenseId& dense, std::uint64_t epoch) {
    return versions[epoch] == 0 || versions[epoch] == dense.version;
}

EpochRun naive_run(const std::vector<std::uint64_t>& versions, const DenseId& dense, std::uint64_t low, std::uint64_t high) {
    for (std::uint64_t last = high; last >= low; --last) {
        if (!may_read(versions, dense, last)) continue;
        std::uint64_t first = last;
        while (first > 1 && may_read(versions, dense, first - 1)) --first;
        return {first, last};
    }
    return {};
}

}  // namespace

TEST(runs_are_those_that_a_naive_search_finds) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 5'000; ++round) {
        const auto versions = random_versions(random);
        const DenseEpochs epochs = epochs_of(versions, 7);
        const DenseId dense{7, 1 + random() % 2};
        const std::uint64_t low = 1 + random() % kEpochs, high = low + random() % (kEpochs + 1 - low);
        CHECK(epochs.newest_run(dense, low, high) == naive_run(versions, dense, low, high));
        for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
            CHECK(epochs.may_read(dense, epoch) == may_read(versions, dense, epoch));
        }
        CHECK((epochs.newest_run({8, 1}, low, high) == EpochRun{1, high}));  // a model that no record names
    }
}

TEST(a_server_without_epochs_has_no_run) {
    CHECK((DenseEpochs().newest_run({7, 1}, 0, 0) == EpochRun{}));
    const std::vector<DenseEpochs::Change> changes{{3, {7, 2}}};
    CHECK((DenseEpochs(changes).newest_run({7, 1}, 0, 0) == EpochRun{}));
}

TEST(what_servers_say_is_put_together) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 2'000; ++round) {
        const auto versions = random_versions(random);
        const DenseEpochs epochs = epochs_of(versions, 7);
        const DenseId dense{7, 1};
        EpochRuns heard;
        std::vector<bool> said(kEpochs + 1);
        for (int i = 0; i < 20; ++i) {
            const std::uint64_t low = 1 + random() % kEpochs, high = low + random() % (kEpochs + 1 - low);
            const EpochRun run = epochs.newest_run(dense, low, high);
            heard.note(run);
            for (std::uint64_t epoch = run.first; epoch <= run.last && epoch != 0; ++epoch) said[epoch] = true;
        }
        std::vector<bool> known(kEpochs + 1);
        std::uint64_t before = kEpochs + 2;
        for (const EpochRun& run : heard.all()) {
            CHECK(run.last + 1 < before);  // the newest first, and none of them touch
            before = run.first;
            for (std::uint64_t epoch = run.first; epoch <= run.last; ++epoch) known[epoch] = true;
        }
        CHECK(known == said || heard.all().size() == EpochRuns::kMost);
        CHECK(heard.empty() == heard.all().empty());
    }
}
