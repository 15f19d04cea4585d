#include "table/table.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "check.hpp"
#include "tables.hpp"

using namespace persia;

TEST(rows_come_back_as_they_were_put) {
    Table table(*filled({.storage = RowStorage::f32}, 0, 1'000, 16, 1.0F));
    const auto [rows, misses] = rows_of(*table.pin(), range(0, 1'001), 16);
    CHECK(misses.absent == 1);
    CHECK(misses.wrong_dim == 0);
    for (std::size_t i = 0; i < 1'000; ++i) CHECK(rows[i * 16 + 3] == value(i, 1.0F));
    CHECK(rows[1'000 * 16] == 0.0F);
}

TEST(a_filter_knows_all_signs_of_its_layer_and_few_others) {
    Layer layer = layer_of(0, 10'000, 4, 1.0F);
    CHECK(layer.filter.may_have(table_hash(1'000'000)));  // it is not filled
    layer.rows.add_tombstone(20'000);
    layer.filter.fill(layer.rows.index());
    for (const std::uint64_t sign : range(0, 10'000)) CHECK(layer.filter.may_have(table_hash(sign)));
    CHECK(layer.filter.may_have(table_hash(20'000)));
    int others = 0;
    for (const std::uint64_t sign : range(30'000, 40'000)) others += layer.filter.may_have(table_hash(sign)) ? 1 : 0;
    CHECK(others < 2'000);
}

TEST(a_row_of_another_dim_is_zeros_and_counted) {
    Table table(*filled({}, 0, 10, 8, 1.0F));
    const auto [rows, misses] = rows_of(*table.pin(), range(0, 10), 16);
    CHECK(misses.wrong_dim == 10);
    CHECK(misses.absent == 0);
    for (const float number : rows) CHECK(number == 0.0F);
}

TEST(a_sign_whose_dim_changes_moves) {
    Table table(*filled({}, 0, 100, 8, 1.0F));
    table.publish(layer_of(0, 50, 16, 2.0F));
    CHECK(table.wait_folded(60));
    const auto snapshot = table.pin();
    CHECK(rows_of(*snapshot, range(0, 100), 8).second.wrong_dim == 50);
    CHECK(rows_of(*snapshot, range(0, 100), 16).second.wrong_dim == 50);
    CHECK(rows_of(*snapshot, range(0, 50), 16).first[5 * 16] == value(5, 2.0F));
}

TEST(a_pinned_snapshot_stays_as_it_was) {
    Table table(*filled({}, 0, 100, 4, 1.0F));
    const auto before = table.pin();
    Layer changes = layer_of(50, 150, 4, 2.0F);
    changes.rows.add_tombstone(10);
    CHECK(table.publish(std::move(changes)) == 1);
    const auto after = table.pin();
    CHECK(!table.wait_folded(0));  // `before` holds the fold up
    CHECK(before->version() == 0);
    CHECK(after->version() == 1);
    CHECK(rows_of(*before, range(0, 150), 4).second.absent == 50);
    CHECK(rows_of(*before, range(0, 150), 4).first[60 * 4] == value(60, 1.0F));
    CHECK(rows_of(*after, range(0, 150), 4).second.absent == 1);
    CHECK(rows_of(*after, range(0, 150), 4).first[60 * 4] == value(60, 2.0F));
    CHECK(before->signs().size() == 100);
    CHECK(after->signs().size() == 149);
}

TEST(a_fold_changes_nothing_that_a_reader_sees) {
    Table table(*filled({}, 0, 5'000, 4, 1.0F));
    Layer changes = layer_of(2'500, 9'000, 4, 2.0F);
    for (std::uint64_t sign = 0; sign < 1'000; ++sign) changes.rows.add_tombstone(sign);
    table.publish(std::move(changes));
    const auto layered = rows_of(*table.pin(), range(0, 10'000), 4);
    CHECK(table.wait_folded(60));
    const auto folded = rows_of(*table.pin(), range(0, 10'000), 4);
    CHECK(table.status().layers == 0);
    CHECK(layered.first == folded.first);
    CHECK(layered.second.absent == folded.second.absent);
    CHECK(table.status().base_rows == 8'000);
}

TEST(while_a_snapshot_is_held_layers_stay_few) {
    Table table(*filled({.max_layers = 4}, 0, 100, 4, 1.0F));
    auto held = table.pin();
    for (int round = 0; round < 40; ++round) {
        Layer changes = layer_of(static_cast<std::uint64_t>(round), 100, 4, 2.0F + static_cast<float>(round));
        if (round > 0) changes.rows.add_tombstone(static_cast<std::uint64_t>(round) - 1);
        table.publish(std::move(changes));
    }
    while (table.status().layers > 4) std::this_thread::yield();
    CHECK(rows_of(*held, range(0, 100), 4).first[50 * 4] == value(50, 1.0F));
    const auto check = [&] {
        const auto [rows, misses] = rows_of(*table.pin(), range(0, 100), 4);
        CHECK(misses.absent == 39);
        CHECK(rows[50 * 4] == value(50, 41.0F));
    };
    check();
    held.reset();
    CHECK(table.wait_folded(60));
    check();
    CHECK(table.status().base_rows == 61);
}

TEST(what_was_not_used_goes_first) {
    Table table(*filled({.capacity = 1'000}, 0, 1'000, 4, 1.0F));
    rows_of(*table.pin(), range(200, 700), 4);
    table.publish(layer_of(5'000, 5'400, 4, 2.0F));
    CHECK(table.wait_folded(60));
    CHECK(table.status().base_rows == 1'000);
    CHECK(table.status().evicted == 400);
    const auto snapshot = table.pin();
    CHECK(rows_of(*snapshot, range(200, 700), 4).second.absent == 0);
    CHECK(rows_of(*snapshot, range(5'000, 5'400), 4).second.absent == 0);
}

TEST(an_evicted_row_is_gone_in_one_version_and_not_before) {
    Table table(*filled({.capacity = 100}, 0, 100, 4, 1.0F));
    auto held = table.pin();
    table.publish(layer_of(100, 200, 4, 2.0F));
    CHECK(held->signs().size() == 100);
    const std::uint64_t full = table.pin()->version();
    held.reset();
    CHECK(table.wait_folded(60));
    CHECK(table.pin()->version() == full + 1);
    CHECK(table.pin()->signs().size() == 100);
    CHECK(rows_of(*table.pin(), range(100, 200), 4).second.absent == 0);
}

TEST(what_waits_to_be_folded_is_not_evicted) {
    Table table(*filled({.capacity = 100}, 0, 100, 4, 1.0F));
    auto at_start = table.pin();
    table.publish(layer_of(100, 200, 4, 2.0F));
    const auto in_between = table.pin();
    table.publish(layer_of(0, 50, 4, 3.0F));
    at_start.reset();  // the first layer can be folded now, the second cannot
    while (table.status().evicted == 0) std::this_thread::yield();
    const auto now = table.pin();
    CHECK(rows_of(*now, range(0, 50), 4).first[7 * 4] == value(7, 3.0F));
    CHECK(rows_of(*now, range(0, 50), 4).second.absent == 0);
    CHECK(rows_of(*now, range(50, 100), 4).second.absent == 50);
    CHECK(rows_of(*in_between, range(0, 200), 4).second.absent == 0);
}

TEST(what_is_published_during_a_merge_stays) {
    Table table(*filled({.max_layers = 2}, 0, 10, 4, 1.0F));
    const auto held = table.pin();
    std::vector<Layer> layers;
    for (std::uint64_t round = 0; round < 30; ++round) {
        layers.push_back(layer_of(100, 5'000, 4, 2.0F));
        put_range(10'000 + round, 10'001 + round, 4, 3.0F,
                  [&](const RowBlock& block) { layers.back().rows.put(block, {}, 3); });
    }
    for (Layer& layer : layers) table.publish(std::move(layer));
    while (table.status().layers > 2) std::this_thread::yield();
    CHECK(rows_of(*table.pin(), range(10'000, 10'030), 4).second.absent == 0);
}

TEST(a_builder_over_its_capacity_keeps_the_most_recent) {
    TableBuilder builder({.capacity = 100});
    const std::vector<float> numbers(4, 1.0F);
    RowBlock block;
    for (std::uint64_t sign = 0; sign < 1'000; ++sign) {
        block.signs.push_back(sign);
        block.dims.push_back(4);
        block.values.push_back(reinterpret_cast<const std::byte*>(numbers.data()));
        block.recency.push_back(static_cast<std::uint8_t>(sign >= 950 ? 3 : sign % 3));
    }
    builder.put(block);
    Table table(builder);
    CHECK(table.status().base_rows == 100);
    CHECK(table.status().evicted == 900);
    CHECK(rows_of(*table.pin(), range(950, 1'000), 4).second.absent == 0);
    CHECK_THROWS(builder.rows(), InvalidInput);
}

TEST(a_shard_keeps_only_its_own) {
    std::set<std::uint64_t> seen;
    for (std::uint32_t index = 0; index < 3; ++index) {
        Table table(*filled({}, 0, 3'000, 4, 1.0F, {index, 3}));
        for (const std::uint64_t sign : table.pin()->signs()) {
            CHECK(shard_of(sign, 3) == index);
            CHECK(seen.insert(sign).second);
        }
    }
    CHECK(seen.size() == 3'000);
}

TEST(smaller_storage_is_close) {
    for (const auto& [storage, slack] : {std::pair(RowStorage::f16, 1.0F / 2'048), std::pair(RowStorage::int8, 1.0F / 254)}) {
        Table table(*filled({.storage = storage}, 0, 500, 13, 1.0F));
        const auto [rows, misses] = rows_of(*table.pin(), range(0, 500), 13);
        CHECK(misses.absent == 0);
        for (std::size_t i = 0; i < 500; ++i) {
            for (std::size_t k = 0; k < 13; ++k) CHECK(std::fabs(rows[i * 13 + k] - value(i, 1.0F)) <= slack * value(i, 1.0F));
        }
    }
    Table table(*filled({.storage = RowStorage::f16}, 0, 1, 4, 1.0F));
    CHECK_THROWS(table.publish(layer_of(0, 1, 4, 1.0F)), InvalidInput);
}

TEST(int8_survives_numbers_that_are_none) {
    const float values[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1.0F, 0.5F};
    std::vector<std::byte> row(row_bytes(RowStorage::int8, 4));
    float back[4];
    store_row(RowStorage::int8, reinterpret_cast<const std::byte*>(values), 4, row.data());
    load_row(RowStorage::int8, row.data(), 4, back);
    CHECK(back[0] == 0.0F);
    CHECK(back[1] == 1.0F);
    CHECK(back[2] == -1.0F);
    CHECK(std::fabs(back[3] - 0.5F) < 0.01F);
}

TEST(sums_add_the_rows_of_each_sample) {
    Table table(*filled({}, 0, 100, 16, 1.0F));
    const std::vector<std::uint64_t> signs{1, 2, 999, 3};
    const std::vector<std::uint32_t> counts{1, 3, 2, 0};
    const std::vector<std::uint16_t> samples{0, 0, 1, 1, 0, 1};
    std::vector<float> sums(2 * 16);
    const Misses misses = add_up(*table.pin(), signs, counts, samples, 16, 2, sums.data());
    CHECK(misses.absent == 1);
    CHECK(sums[0] == value(1, 1.0F) + value(2, 1.0F));
    CHECK(sums[16] == 2 * value(2, 1.0F));
}

TEST(sums_may_lie_at_any_number) {
    Table table(*filled({}, 0, 10, 16, 1.0F));
    const std::vector<std::uint64_t> signs{1, 2};
    const std::vector<std::uint32_t> counts{1, 1};
    const std::vector<std::uint16_t> samples{0, 0};
    for (std::size_t begin = 0; begin < 4; ++begin) {
        std::vector<float> numbers(begin + 16);
        add_up(*table.pin(), signs, counts, samples, 16, 1, numbers.data() + begin);
        CHECK(numbers[begin] == value(1, 1.0F) + value(2, 1.0F));
    }
}

TEST(a_snapshot_outlives_its_table) {
    std::shared_ptr<const Snapshot> kept;
    {
        Table table(*filled({}, 0, 100, 4, 1.0F));
        table.publish(layer_of(0, 10, 4, 3.0F));
        kept = table.pin();
    }
    CHECK(rows_of(*kept, range(0, 100), 4).first[5 * 4] == value(5, 3.0F));
}

TEST(freed_slots_are_used_again) {
    Table table(*filled({}, 0, 10'000, 16, 1.0F));
    for (int round = 0; round < 20; ++round) {
        const bool even = round % 2 == 0;
        Layer changes = layer_of(even ? 10'000 : 0, even ? 20'000 : 10'000, 16, 1.0F);
        for (const std::uint64_t sign : range(even ? 0 : 10'000, even ? 10'000 : 20'000)) changes.rows.add_tombstone(sign);
        table.publish(std::move(changes));
        CHECK(table.wait_folded(60));
    }
    CHECK(table.status().base_rows == 10'000);
    CHECK(table.status().base_bytes < 3 * 10'000 * 80);
    for (int round = 0; round < 20; ++round) {
        table.publish(layer_of(0, 10'000, round % 2 == 0 ? 15 : 16, 1.0F));
        CHECK(table.wait_folded(60));
    }
    CHECK(table.status().base_bytes < 6 * 10'000 * 80);
}
