// Readers run flat out while layers are published, folded, merged and evicted. Whatever they see must be one whole version.
#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::uint64_t kSigns = 3'000;
constexpr std::uint32_t kDim = 8;

// What the writer does from version to version, and what every version must hold: 0 stands for no row.
struct History {
    std::vector<std::vector<std::uint32_t>> rows;  // [version][sign]

    explicit History(std::size_t versions) : rows(versions + 1, std::vector<std::uint32_t>(kSigns)) {
        std::mt19937_64 random(3);
        for (std::uint64_t sign = 0; sign < kSigns / 2; ++sign) rows[0][sign] = 1;
        for (std::size_t version = 1; version <= versions; ++version) {
            rows[version] = rows[version - 1];
            const std::size_t changes = random() % 400;
            for (std::size_t i = 0; i < changes; ++i) {
                std::uint32_t& row = rows[version][random() % kSigns];
                row = random() % 4 == 0 ? 0 : static_cast<std::uint32_t>(version + 1);
            }
        }
    }

    Layer layer(std::size_t version) const {
        Layer layer(RowStorage::f32);
        for (std::uint64_t sign = 0; sign < kSigns; ++sign) {
            const std::uint32_t now = rows[version][sign];
            if (now == rows[version - 1][sign]) continue;
            if (now == 0) {
                layer.rows.add_tombstone(sign);
            } else {
                put_range(sign, sign + 1, kDim, static_cast<float>(now),
                          [&](const RowBlock& block) { layer.rows.put(block, {}, 3); });
            }
        }
        return layer;
    }
};

std::size_t wrong_rows(const Snapshot& snapshot, const std::vector<std::uint32_t>& expected, std::mt19937_64& random) {
    std::vector<std::uint64_t> signs(200);
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

TEST(readers_see_whole_versions) {
    const std::size_t versions = 400;
    const History history(versions);
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
                wrong += wrong_rows(*snapshot, history.rows[snapshot->version()], random);
                // One reader keeps some snapshots longer, so that layers pile up and are merged.
                if (reader == 0 && random() % 64 == 0) held = snapshot;
                if (held != nullptr) wrong += wrong_rows(*held, history.rows[held->version()], random);
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
    CHECK(wrong_rows(*table.pin(), history.rows[versions], random) == 0);
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
