// A layer that turns a table into a checkpoint, while the table goes on.
#include "table/checkpoint_diff.hpp"

#include <cstring>
#include <map>
#include <random>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "check.hpp"
#include "tables.hpp"

using namespace persia;

namespace {

constexpr std::size_t kMuch = std::size_t{1} << 30;

// sign -> dim and factor of its row, as put_range() makes it.
using Rows = std::map<std::uint64_t, std::pair<std::uint32_t, float>>;

void put_rows(CheckpointDiff& diff, const Rows& rows, Shard shard = {}, const std::vector<std::uint8_t>& recency = {},
              unsigned least = 0) {
    std::vector<std::vector<float>> numbers;
    RowBlock block;
    for (const auto& [sign, row] : rows) {
        numbers.emplace_back(row.first, value(sign, row.second));
        block.signs.push_back(sign);
        block.dims.push_back(row.first);
        block.values.push_back(reinterpret_cast<const std::byte*>(numbers.back().data()));
    }
    block.recency = recency;
    diff.put(block, shard, least);
}

void expect_rows(const Snapshot& snapshot, const Rows& expected, std::uint64_t signs) {
    for (std::uint64_t sign = 0; sign < signs; ++sign) {
        const auto row = expected.find(sign);
        if (row == expected.end()) {
            CHECK(!snapshot.has(sign));
            continue;
        }
        const auto [dim, factor] = row->second;
        const auto [numbers, misses] = rows_of(snapshot, {sign}, dim);
        CHECK(misses.absent == 0 && misses.wrong_dim == 0 && numbers == std::vector<float>(dim, value(sign, factor)));
    }
}

}  // namespace

TEST(the_layer_has_what_differs_and_nothing_else) {
    Table table(*filled({}, 0, 100, 4, 1));
    CheckpointDiff diff(table.pin(), kMuch, 0);
    Rows rows;
    for (std::uint64_t sign = 10; sign < 120; ++sign) rows[sign] = {4, sign < 20 ? 2.0F : 1.0F};
    rows[50] = {8, 1};  // of another dim
    put_rows(diff, rows);
    Layer layer = diff.finish();
    CHECK(layer.rows.index().size() == 10 + 11 + 20 + 0 && layer.removes);
    CHECK(diff.removed() == 10 && diff.replaced() == 11 && diff.added() == 20 && diff.left_out() == 0);
    table.begin_epoch(std::move(layer), 1, 0);
    expect_rows(*table.pin(), rows, 130);
    CHECK(table.wait_folded(60));
    expect_rows(*table.pin(), rows, 130);
}

TEST(rows_are_compared_as_the_table_stores_them) {
    for (const RowStorage storage : {RowStorage::f16, RowStorage::int8}) {
        Table table(*filled({.storage = storage}, 0, 50, 4, 0.337F));
        CheckpointDiff diff(table.pin(), kMuch, 0);
        Rows rows;
        for (std::uint64_t sign = 0; sign < 50; ++sign) rows[sign] = {4, 0.337F};
        put_rows(diff, rows);
        CHECK(diff.finish().rows.index().size() == 0);
    }
}

TEST(each_shard_takes_its_own_rows) {
    constexpr std::uint64_t kSigns = 400;
    Rows rows;
    for (std::uint64_t sign = 0; sign < kSigns; ++sign) rows[sign] = {4, 3};
    std::uint64_t all = 0;
    for (std::uint32_t index = 0; index < 3; ++index) {
        const Shard shard{index, 3};
        Table table(*filled({}, 0, kSigns / 2, 4, 1, shard));
        CheckpointDiff diff(table.pin(), kMuch, 0);
        put_rows(diff, rows, shard);
        table.publish(diff.finish());
        const auto signs = table.pin()->signs();
        all += signs.size();
        for (const std::uint64_t sign : signs) CHECK(shard_of(sign, 3) == index);
    }
    CHECK(all == kSigns);
}

TEST(what_is_kept_is_not_touched_and_what_is_renewed_is_put_in_any_case) {
    Table table(*filled({}, 0, 20, 4, 1));
    CheckpointDiff diff(table.pin(), kMuch, 0);
    diff.keep(std::vector<std::uint64_t>{1, 2, 30});
    diff.renew(std::vector<std::uint64_t>{2, 3, 40});
    Rows rows;
    for (std::uint64_t sign = 2; sign < 20; ++sign) rows[sign] = {4, sign == 2 ? 9.0F : 1.0F};
    rows[30] = {4, 9};
    put_rows(diff, rows);
    Layer layer = diff.finish();
    CHECK(layer.rows.index().size() == 2);  // 0 goes, and 3 comes again
    table.publish(std::move(layer));
    Rows expected;
    for (std::uint64_t sign = 1; sign < 20; ++sign) expected[sign] = {4, 1};
    expect_rows(*table.pin(), expected, 50);
    CHECK(diff.replaced() == 0 && diff.removed() == 1);
}

TEST(cold_rows_and_rows_over_a_limit_do_not_come_and_those_that_are_there_stay) {
    Table table(*filled({}, 0, 2, 4, 1));
    Rows rows{{0, {4, 2}}, {1, {4, 1}}, {2, {4, 1}}, {3, {4, 1}}, {4, {4, 1}}, {5, {4, 1}}};
    CheckpointDiff diff(table.pin(), kMuch, 2);
    put_rows(diff, rows, {}, {0, 0, 1, 3, 3, 3}, 2);
    table.publish(diff.finish());
    CHECK(diff.added() == 2 && diff.left_out() == 2 && diff.replaced() == 1 && diff.removed() == 0);
    expect_rows(*table.pin(), {{0, {4, 2}}, {1, {4, 1}}, {3, {4, 1}}, {4, {4, 1}}}, 10);
}

TEST(changes_have_a_limit_of_memory_also_those_that_remove) {
    Table table(*filled({}, 0, 1000, 16, 1));
    CheckpointDiff diff(table.pin(), 1000, 0);
    Rows rows;
    for (std::uint64_t sign = 0; sign < 1000; ++sign) rows[sign] = {16, sign < 5 ? 2.0F : 1.0F};
    put_rows(diff, rows);
    CHECK(diff.finish().rows.index().size() == 5);
    CheckpointDiff larger(table.pin(), 1000, 0);
    for (auto& [sign, row] : rows) row.second = 2;
    CHECK_THROWS(put_rows(larger, rows), TooLarge);
    CheckpointDiff smaller(table.pin(), 1000, 0);
    CHECK_THROWS(smaller.finish(), TooLarge);
}

// Whatever lies in layers, in the base, or on its way from the one to the other: the layer makes the checkpoint of it, and the
// epoch before stays as it was.
TEST(any_table_becomes_the_checkpoint_while_it_is_folded) {
    constexpr std::uint64_t kSigns = 3000;
    std::mt19937_64 random(7);
    const auto below = [&](std::uint64_t n) { return random() % n; };
    for (int turn = 0; turn < 20; ++turn) {
        Table table(*filled({}, 0, 1 + below(kSigns), 4, 1));
        Rows before;
        for (const std::uint64_t sign : table.pin()->signs()) before[sign] = {4, 1};
        std::uint64_t epoch = 0;
        const auto change = [&] {
            const std::uint64_t begin = below(kSigns), end = std::min(kSigns, begin + 1 + below(300));
            const std::uint32_t dim = below(5) == 0 ? 8 : 4;
            const auto factor = static_cast<float>(2 + below(3));
            Layer layer = layer_of(begin, end, dim, factor);
            for (std::uint64_t sign = begin; sign < end; ++sign) before[sign] = {dim, factor};
            const std::uint64_t gone = below(kSigns);
            layer.add_tombstone(gone);
            before.erase(gone);
            ++epoch;
            table.begin_epoch(std::move(layer), epoch, epoch - 1);
        };
        for (std::uint64_t layers = below(4); layers > 0; --layers) change();
        Rows rows;
        for (std::uint64_t sign = 0; sign < kSigns; ++sign) {
            if (const auto row = before.find(sign); row != before.end() && below(8) != 0) rows[sign] = row->second;
            if (below(6) == 0) rows[sign] = {below(5) == 0 ? 8U : 4U, static_cast<float>(5 + below(3))};
        }
        change();
        CheckpointDiff diff(table.pin(), kMuch, 0);
        put_rows(diff, rows);
        const std::uint64_t before_it = epoch++;
        table.begin_epoch(diff.finish(), epoch, before_it);
        expect_rows(*table.pin(), rows, kSigns);
        if (before_it != 0) expect_rows(*table.pin_epoch(before_it).snapshot, before, kSigns);
        CHECK(table.wait_folded(60));
        expect_rows(*table.pin(), rows, kSigns);
        if (before_it != 0) expect_rows(*table.pin_epoch(before_it).snapshot, before, kSigns);
    }
}
