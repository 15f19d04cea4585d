// Which epochs may be read for a version of a dense model and for a variant: as servers know it from records, and as routers
// hear of it.
#include <random>
#include <vector>

#include "check.hpp"
#include "routing/epoch_runs.hpp"
#include "serving/readable_epochs.hpp"

using namespace persia;
using routing::EpochRuns;
using serving::ReadableEpochs;
using wire::EpochRun;
using wire::RowsFor;

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

ReadableEpochs epochs_of(const std::vector<std::uint64_t>& versions, std::uint64_t model) {
    std::vector<ReadableEpochs::DenseChange> changes;
    for (std::uint64_t epoch = 1; epoch < versions.size(); ++epoch) {
        if (versions[epoch] != versions[epoch - 1]) changes.push_back({epoch, model, versions[epoch]});
    }
    return ReadableEpochs(changes);
}

bool may_read(const std::vector<std::uint64_t>& versions, const RowsFor& dense, std::uint64_t epoch) {
    return versions[epoch] == 0 || versions[epoch] == dense.version;
}

EpochRun naive_run(const std::vector<std::uint64_t>& versions, const RowsFor& dense, std::uint64_t low, std::uint64_t high) {
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
        const ReadableEpochs epochs = epochs_of(versions, 7);
        const RowsFor dense{7, 1 + random() % 2};
        const std::uint64_t low = 1 + random() % kEpochs, high = low + random() % (kEpochs + 1 - low);
        CHECK(epochs.newest_run(dense, low, high) == naive_run(versions, dense, low, high));
        for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
            CHECK(epochs.may_read(dense, epoch) == may_read(versions, dense, epoch));
        }
        CHECK((epochs.newest_run({8, 1}, low, high) == EpochRun{1, high}));  // a model that no record names
    }
}

TEST(a_server_without_epochs_has_no_run) {
    CHECK((ReadableEpochs().newest_run({7, 1}, 0, 0) == EpochRun{}));
    const std::vector<ReadableEpochs::DenseChange> changes{{3, 7, 2}};
    CHECK((ReadableEpochs(changes).newest_run({7, 1}, 0, 0) == EpochRun{}));
}

TEST(runs_of_variants_are_those_that_a_naive_search_finds) {
    std::mt19937_64 random(3);
    for (int round = 0; round < 5'000; ++round) {
        const auto versions = random_versions(random);
        // Of one variant in each epoch: 0: it is not there; 1: it names no version of its own; else the version plus 1.
        const auto own = random_versions(random);
        std::vector<ReadableEpochs::DenseChange> dense;
        std::vector<ReadableEpochs::VariantsChange> variants;
        for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
            if (versions[epoch] != versions[epoch - 1]) dense.push_back({epoch, 7, versions[epoch]});
            if (own[epoch] == own[epoch - 1] && random() % 8 != 0) continue;
            variants.push_back({epoch, {{99, {"other", {}}}}});
            if (own[epoch] == 1) variants.back().variants[5] = {"b", {}};
            if (own[epoch] > 1) variants.back().variants[5] = {"b", {{7, own[epoch] - 1}}};
        }
        const ReadableEpochs epochs(dense, variants);
        const auto may_read = [&](const RowsFor& whom, std::uint64_t epoch) {
            if (own[epoch] == 0) return false;
            const std::uint64_t named = own[epoch] > 1 ? own[epoch] - 1 : versions[epoch];
            return whom.model == 0 || named == 0 || named == whom.version;
        };
        for (const RowsFor& whom : {RowsFor{7, 1, 5}, RowsFor{7, 2, 5}, RowsFor{0, 0, 5}}) {
            const std::uint64_t low = 1 + random() % kEpochs, high = low + random() % (kEpochs + 1 - low);
            EpochRun expected;
            for (std::uint64_t last = high; last >= low && expected.last == 0; --last) {
                if (!may_read(whom, last)) continue;
                expected = {last, last};
                while (expected.first > 1 && may_read(whom, expected.first - 1)) --expected.first;
            }
            CHECK(epochs.newest_run(whom, low, high) == expected);
            for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch)
                CHECK(epochs.may_read(whom, epoch) == may_read(whom, epoch));
        }
        CHECK(epochs.has_variant(5) == (own[kEpochs] != 0) && epochs.has_variant(0) && !epochs.has_variant(6));
        CHECK((epochs.newest_run({7, 1, 6}, 1, kEpochs) == EpochRun{}));  // a variant that no record names
        CHECK((epochs.newest_run({7, 1, 5}, 0, 0) == EpochRun{}));
    }
    CHECK(ReadableEpochs().variant_names() == "which has no variants");
    const ReadableEpochs two({}, {{1, {{1, {"c", {}}}, {2, {"b", {}}}}}});
    CHECK(two.variant_names() == "b, c");
}

TEST(what_servers_say_is_put_together) {
    std::mt19937_64 random(2);
    for (int round = 0; round < 2'000; ++round) {
        const auto versions = random_versions(random);
        const ReadableEpochs epochs = epochs_of(versions, 7);
        const RowsFor dense{7, 1};
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
