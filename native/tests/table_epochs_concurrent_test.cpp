// Readers of earlier epochs run flat out while epochs begin, are gone back to, folded and evicted.
#include <algorithm>
#include <atomic>
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
