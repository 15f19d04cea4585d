// Readers of earlier epochs run flat out while epochs begin, are gone back to, folded and evicted.
#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "table_history.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 2'000;
constexpr std::uint32_t kDim = 8;
constexpr std::uint64_t kEpochs = 200;

// Some go back to one of those before.
std::size_t onto(std::size_t epoch, std::mt19937_64& random) {
    const bool goes_back = epoch > 5 && random() % 5 == 0;
    return epoch - 1 - (goes_back ? random() % 4 : 0);
}

}  // namespace

TEST(readers_of_earlier_epochs_see_them_as_they_were) {
    const TableHistory history(kEpochs, kSigns, kDim, 300, onto);
    Table table(*filled({.retained_epochs = 6, .max_layers = 3}, 0, kSigns / 2, kDim, 1.0F));
    std::atomic<std::uint64_t> newest = 0;
    std::atomic<bool> done{false};
    std::atomic<std::size_t> wrong{0}, misnamed{0}, lookups{0}, of_the_past{0};
    std::vector<std::thread> readers;
    for (unsigned reader = 0; reader < 3; ++reader) {
        readers.emplace_back([&, reader] {
            std::mt19937_64 random(reader);
            std::shared_ptr<const Snapshot> held;
            while (!done) {
                const std::uint64_t now = newest;
                const std::uint64_t epoch = now - std::min(now, random() % 6);
                const Table::Pinned pinned = table.pin_epoch(epoch);
                if (pinned.snapshot != nullptr) {
                    const std::uint64_t got = pinned.snapshot->epoch();
                    if (epoch != 0 && got != epoch) ++misnamed;
                    wrong += history.wrong_numbers(*pinned.snapshot, got, random);
                    if (got < now) ++of_the_past;
                    if (reader == 0 && random() % 32 == 0) held = pinned.snapshot;
                } else if (epoch >= pinned.epoch_low && epoch <= pinned.epoch_high) {
                    ++misnamed;
                }
                if (held != nullptr) wrong += history.wrong_numbers(*held, held->epoch(), random);
                ++lookups;
            }
        });
    }
    for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
        table.begin_epoch(history.layer(epoch), epoch, history.onto[epoch]);
        newest = epoch;
        const std::size_t seen = lookups;
        while (lookups < seen + 3) std::this_thread::yield();  // let readers in between, whatever the machine
    }
    done = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0 && misnamed == 0 && of_the_past > 0);
    CHECK(table.wait_folded(60));
    std::mt19937_64 random(99);
    for (std::uint64_t epoch = table.status().epoch_low; epoch <= kEpochs; ++epoch) {
        const Table::Pinned pinned = table.pin_epoch(epoch);
        CHECK(pinned.snapshot != nullptr && history.wrong_numbers(*pinned.snapshot, epoch, random) == 0);
    }
}

// Two variants get rows of their own in some epochs, one of them ends now and then, and rows of the epochs change under them.
TEST(readers_of_variants_see_their_own_rows_over_those_of_the_epoch) {
    const TableHistory history(kEpochs, kSigns, kDim, 300, onto);
    constexpr std::uint64_t kFirst = 5, kSecond = 6;
    using Own = std::map<std::uint64_t, std::uint32_t>;  // a factor by sign; 0: deleted
    std::vector<std::map<std::uint64_t, Own>> own(kEpochs + 1);
    Table table(*filled({.retained_epochs = 6, .max_layers = 3}, 0, kSigns / 2, kDim, 1.0F));
    const auto wrong_numbers = [&](const Snapshot& snapshot, std::uint64_t variant, std::mt19937_64& random) -> std::size_t {
        const std::uint64_t epoch = snapshot.epoch();
        const auto there = own[epoch].find(variant);
        if (snapshot.has_variant(variant) != (there != own[epoch].end())) return 1;
        if (there == own[epoch].end()) return 0;
        std::vector<std::uint64_t> signs(200);
        for (std::uint64_t& sign : signs) sign = random() % kSigns;
        std::vector<float> found(signs.size() * kDim);
        snapshot.rows(signs, kDim, found.data(), variant);
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < signs.size(); ++i) {
            const auto of_its_own = there->second.find(signs[i]);
            const std::uint32_t row = of_its_own != there->second.end() ? of_its_own->second : history.rows[epoch][signs[i]];
            wrong += found[i * kDim] != (row == 0 ? 0.0F : value(signs[i], static_cast<float>(row)));
        }
        return wrong;
    };
    std::atomic<std::uint64_t> newest = 0;
    std::atomic<bool> done{false};
    std::atomic<std::size_t> wrong{0}, lookups{0}, of_variants{0};
    std::vector<std::thread> readers;
    for (unsigned reader = 0; reader < 3; ++reader) {
        readers.emplace_back([&, reader] {
            std::mt19937_64 random(reader);
            std::shared_ptr<const Snapshot> held;
            while (!done) {
                const std::uint64_t now = newest;
                const auto snapshot = table.pin_epoch(now - std::min(now, random() % 6)).snapshot;
                if (snapshot != nullptr && snapshot->epoch() <= now) {
                    wrong += history.wrong_numbers(*snapshot, snapshot->epoch(), random);
                    for (const std::uint64_t variant : {kFirst, kSecond}) wrong += wrong_numbers(*snapshot, variant, random);
                    of_variants += snapshot->has_variant(kFirst) ? 1 : 0;
                    if (reader == 0 && random() % 32 == 0) held = snapshot;
                }
                if (held != nullptr) wrong += wrong_numbers(*held, kFirst, random);
                ++lookups;
            }
        });
    }
    std::mt19937_64 random(4);
    for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
        own[epoch] = own[epoch - 1];
        std::vector<VariantUpdate> updates;
        for (const std::uint64_t variant : {kFirst, kSecond}) {
            if (variant == kSecond && random() % 10 == 0) {
                own[epoch].erase(variant);
                continue;
            }
            VariantUpdate update{.variant = variant, .layer = {}, .begins = !own[epoch].contains(variant) || random() % 8 == 0};
            Own& rows = own[epoch][variant];
            if (update.begins) rows.clear();
            if (random() % 3 == 0) {
                Layer layer(RowStorage::f32);
                for (std::size_t i = random() % 60; i > 0; --i) {
                    const std::uint64_t sign = random() % kSigns;
                    if (layer.rows.index().find(sign).ref != kNoRef) continue;
                    rows[sign] = random() % 4 == 0 ? 0 : static_cast<std::uint32_t>(1000 + epoch);
                    if (rows[sign] == 0) {
                        layer.add_tombstone(sign);
                    } else {
                        put_range(sign, sign + 1, kDim, static_cast<float>(rows[sign]),
                                  [&](const RowBlock& block) { layer.rows.put(block, {}, 3); });
                    }
                }
                update.layer.emplace(std::move(layer));
            }
            updates.push_back(std::move(update));
        }
        table.begin_epoch(history.layer(epoch), epoch, history.onto[epoch], std::move(updates));
        newest = epoch;
        const std::size_t seen = lookups;
        while (lookups < seen + 3) std::this_thread::yield();
    }
    done = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0 && of_variants > 0);
    CHECK(table.wait_folded(60));
    for (std::uint64_t epoch = table.status().epoch_low; epoch <= kEpochs; ++epoch) {
        const auto snapshot = table.pin_epoch(epoch).snapshot;
        CHECK(snapshot != nullptr && wrong_numbers(*snapshot, kFirst, random) == 0);
        CHECK(wrong_numbers(*snapshot, kSecond, random) == 0);
    }
    const TableStatus status = table.status();
    CHECK(status.variants.at(kFirst).layers < 8 && status.variants.at(kFirst).rows >= own[kEpochs][kFirst].size());
    CHECK(status.variant_bytes > 0 && status.layers == 0);
}

// Which rows go is the clock's to say, but what is there is of the epoch, and what was there at its end stays for its readers.
TEST(eviction_takes_no_row_from_earlier_epochs) {
    const std::uint64_t capacity = 1'000;
    Table table(*filled({.capacity = capacity, .retained_epochs = 4}, 0, capacity, kDim, 1.0F));
    std::mt19937_64 random(1);
    for (std::uint64_t epoch = 1; epoch < 40; ++epoch) {
        const std::uint64_t begin = random() % 3'000;
        table.begin_epoch(layer_of(begin, begin + 200, kDim, static_cast<float>(epoch + 1)), epoch, epoch - 1);
        CHECK(table.wait_folded(60));
        CHECK(table.pin()->signs().size() <= capacity);
        for (std::uint64_t past = table.status().epoch_low; past <= epoch; ++past) {
            const auto snapshot = table.pin_epoch(past).snapshot;
            if (past == 0) continue;
            CHECK(snapshot != nullptr);
            const std::vector<std::uint64_t> signs = snapshot->signs();
            const auto [rows, misses] = rows_of(*snapshot, signs, kDim);
            CHECK(misses.absent == 0);
            for (std::size_t i = 0; i < signs.size(); ++i) {
                const float factor = rows[i * kDim] / value(signs[i], 1.0F);
                CHECK(factor >= 1.0F && factor <= static_cast<float>(past + 1));
            }
        }
    }
    CHECK(table.status().evicted > 0);
}
