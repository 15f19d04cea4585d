// Readers run flat out while layers are published, folded, merged and evicted. Whatever they see must be one whole version.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "table_history.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 3'000;
constexpr std::uint32_t kDim = 8;

}  // namespace

TEST(readers_see_whole_versions) {
    const std::size_t versions = 400;
    const TableHistory history(versions, kSigns, kDim, 400);
    Table table(*filled({.max_layers = 3}, 0, kSigns / 2, kDim, 1.0F));
    std::atomic<bool> done{false};
    std::atomic<std::size_t> wrong{0}, lookups{0};
    std::vector<std::thread> readers;
    for (unsigned reader = 0; reader < 3; ++reader) {
        readers.emplace_back([&, reader] {
            std::mt19937_64 random(reader);
            std::shared_ptr<const Snapshot> held;
            while (!done) {
                const auto snapshot = table.pin();
                wrong += history.wrong_numbers(*snapshot, snapshot->version(), random);
                // One reader keeps some snapshots longer, so that layers pile up and are merged.
                if (reader == 0 && random() % 64 == 0) held = snapshot;
                if (held != nullptr) wrong += history.wrong_numbers(*held, held->version(), random);
                if (reader == 1 && random() % 64 == 0) {
                    const std::size_t alive = static_cast<std::size_t>(
                        std::count_if(history.rows[snapshot->version()].begin(), history.rows[snapshot->version()].end(),
                                      [](std::uint32_t row) { return row != 0; }));
                    wrong += snapshot->signs().size() != alive;
                }
                ++lookups;
            }
        });
    }
    for (std::size_t version = 1; version <= versions; ++version) {
        table.publish(history.layer(version));
        // Let readers in between, whatever the machine.
        const std::size_t seen = lookups;
        while (lookups < seen + 3) std::this_thread::yield();
    }
    done = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(wrong == 0);
    CHECK(table.wait_folded(60));
    std::mt19937_64 random(99);
    CHECK(history.wrong_numbers(*table.pin(), versions, random) == 0);
}

TEST(readers_keep_rows_from_eviction) {
    const std::uint64_t capacity = 2'000;
    Table table(*filled({.capacity = capacity}, 0, capacity, kDim, 1.0F));
    std::atomic<bool> done{false};
    std::atomic<std::size_t> lost{0}, torn{0}, rounds{0};
    std::thread reader([&] {
        const std::vector<std::uint64_t> hot = range(0, 300), cold = range(1'000, 1'400);
        while (!done) {
            const auto snapshot = table.pin();
            const auto [rows, misses] = rows_of(*snapshot, hot, kDim);
            lost += misses.absent;
            const auto sample = rows_of(*snapshot, {cold[rounds % cold.size()]}, kDim).first;
            for (const float number : sample) torn += number != sample[0];
            ++rounds;
        }
    });
    for (std::uint64_t round = 0; round < 60; ++round) {
        // The hot rows are used in between: they must never be among the oldest.
        const std::size_t seen = rounds;
        while (rounds < seen + 2) std::this_thread::yield();
        table.publish(layer_of(10'000 + round * 200, 10'200 + round * 200, kDim, 2.0F));
        CHECK(table.wait_folded(60));
        CHECK(table.status().base_rows <= capacity);
    }
    done = true;
    reader.join();
    CHECK(lost == 0);
    CHECK(torn == 0);
}
