// Readers of earlier epochs run flat out while epochs begin, are gone back to, folded and evicted.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 2'000;
constexpr std::uint32_t kDim = 8;
constexpr std::uint64_t kEpochs = 200;

// What each epoch goes on from, and what it holds: 0 stands for no row.
struct History {
    std::vector<std::vector<std::uint32_t>> rows;  // [epoch][sign]
    std::vector<std::uint64_t> onto;               // [epoch]

    History() : rows(kEpochs + 1, std::vector<std::uint32_t>(kSigns)), onto(kEpochs + 1) {
        std::mt19937_64 random(3);
        for (std::uint64_t sign = 0; sign < kSigns / 2; ++sign) rows[0][sign] = 1;
        for (std::uint64_t epoch = 1; epoch <= kEpochs; ++epoch) {
            onto[epoch] = epoch - 1;
            if (epoch > 5 && random() % 5 == 0) onto[epoch] -= random() % 4;
            rows[epoch] = rows[onto[epoch]];
            const std::size_t changes = random() % 300;
            for (std::size_t i = 0; i < changes; ++i) {
                std::uint32_t& row = rows[epoch][random() % kSigns];
                row = random() % 4 == 0 ? 0 : static_cast<std::uint32_t>(epoch + 1);
            }
        }
    }

    Layer layer(std::uint64_t epoch) const {
        Layer layer(RowStorage::f32);
        for (std::uint64_t sign = 0; sign < kSigns; ++sign) {
            const std::uint32_t now = rows[epoch][sign];
            if (now == rows[onto[epoch]][sign]) continue;
            if (now == 0) {
                layer.add_tombstone(sign);
            } else {
                put_range(sign, sign + 1, kDim, static_cast<float>(now),
                          [&](const RowBlock& block) { layer.rows.put(block, {}, 3); });
            }
        }
        return layer;
    }
};

std::size_t wrong_rows(const Snapshot& snapshot, const std::vector<std::uint32_t>& expected, std::mt19937_64& random) {
    std::vector<std::uint64_t> signs(100);
    for (std::uint64_t& sign : signs) sign = random() % kSigns;
    const auto [rows, misses] = rows_of(snapshot, signs, kDim);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < signs.size(); ++i) {
        const std::uint32_t row = expected[signs[i]];
        const float want = row == 0 ? 0.0F : value(signs[i], static_cast<float>(row));
        for (std::size_t k = 0; k < kDim; ++k) wrong += rows[i * kDim + k] != want;
    }
    return wrong;
}

}  // namespace

TEST(readers_of_earlier_epochs_see_them_as_they_were) {
    const History history;
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
                    wrong += wrong_rows(*pinned.snapshot, history.rows[got], random);
                    if (got < now) ++of_the_past;
                    if (reader == 0 && random() % 32 == 0) held = pinned.snapshot;
                } else if (epoch >= pinned.epoch_low && epoch <= pinned.epoch_high) {
                    ++misnamed;
                }
                if (held != nullptr) wrong += wrong_rows(*held, history.rows[held->epoch()], random);
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
        CHECK(pinned.snapshot != nullptr && wrong_rows(*pinned.snapshot, history.rows[epoch], random) == 0);
    }
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
