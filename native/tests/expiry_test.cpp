#include "table/expiry.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <unordered_map>

#include "check.hpp"
#include "files/finite.hpp"
#include "tables.hpp"

using namespace persia;

TEST(a_layer_sets_ends_and_clears_them) {
    Table table(*filled({}, 0, 10, 4, 1.0F));
    Expiry expiry;
    const std::uint64_t old[] = {1, 2, 3};
    const std::uint64_t ends[] = {50, 60, 70};
    expiry.set(old, ends, {});
    Layer layer = layer_of(2, 6, 4, 2.0F);
    layer.ends = {{4, 55}, {4, 80}, {5, 40}, {9, 40}};  // the later of two counts; the layer has no row of 9
    layer.add_tombstone(7);
    layer.add_tombstone(77);
    const Gone gone = expiry.follow(layer, *table.pin(), 40);
    CHECK(gone.deleted == 1);  // 77 had no row
    CHECK(gone.expired == 1);
    CHECK(layer.rows.index().find(5).ref == kDeletedRef);
    CHECK(layer.ends.empty());
    table.publish(std::move(layer));
    CHECK(expiry.size() == 2);  // of 1 and 4: 2 and 3 have new rows
    CHECK(!table.pin()->has(5));
    CHECK(table.pin()->has(9));
    CHECK(expiry.take_ended(49).empty());
    CHECK(expiry.take_ended(50) == std::vector<std::uint64_t>{1});
    CHECK(expiry.take_ended(79).empty());
    CHECK(expiry.take_ended(80) == std::vector<std::uint64_t>{4});
    CHECK(expiry.size() == 0);
}

TEST(ends_are_of_the_shard_and_beyond_32_bits_they_are_the_last) {
    Expiry expiry;
    const std::vector<std::uint64_t> signs = range(0, 1'000);
    const std::vector<std::uint64_t> ends(1'000, std::numeric_limits<std::uint64_t>::max());
    expiry.set(signs, ends, {1, 3});
    std::uint64_t own = 0;
    for (const std::uint64_t sign : signs) own += shard_of(sign, 3) == 1 ? 1 : 0;
    CHECK(expiry.size() == own);
    CHECK(expiry.take_ended(0xffffffffU - 2).empty());
    CHECK(expiry.take_ended(0xffffffffU).size() == own);
}

TEST(ends_are_those_of_a_map) {
    std::mt19937_64 random(7);
    Table table(*filled({}, 0, 1, 4, 1.0F));
    Expiry expiry;
    std::unordered_map<std::uint64_t, std::uint64_t> expected;
    for (std::uint64_t now = 1; now < 300; ++now) {
        Layer layer = layer_of(0, 0, 4, 1.0F);
        for (int i = 0; i < 20; ++i) {
            const std::uint64_t sign = random() % 500;
            if (layer.rows.index().find(sign).ref != kNoRef) continue;
            if (random() % 4 == 0) {
                layer.add_tombstone(sign);
                expected.erase(sign);
                continue;
            }
            layer.rows.place(sign, 4, 3);
            expected.erase(sign);
            if (random() % 2 == 0) {
                layer.ends.push_back({sign, now + random() % 40});
                if (layer.ends.back().seconds > now) expected[sign] = layer.ends.back().seconds;
            }
        }
        expiry.follow(layer, *table.pin(), now);
        table.publish(std::move(layer));
        std::size_t ended = 0;
        for (const std::uint64_t sign : expiry.take_ended(now)) ended += expected.at(sign) <= now ? expected.erase(sign) : 0;
        for (const auto& [sign, end] : expected) CHECK(end > now);
        CHECK(expiry.size() == expected.size());
    }
}

TEST(what_is_finite) {
    std::vector<float> numbers(67, 1.0F);
    const auto finite = [&] { return all_finite(reinterpret_cast<const std::byte*>(numbers.data()), numbers.size()); };
    const float inf = std::numeric_limits<float>::infinity();
    const float largest = std::numeric_limits<float>::max();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        for (const float bad : {inf, -inf, std::numeric_limits<float>::quiet_NaN(), std::bit_cast<float>(0x7f800001U),
                                std::bit_cast<float>(0xffffffffU)}) {
            numbers[i] = bad;
            CHECK(!finite());
        }
        for (const float good : {largest, -largest, 0.0F, -0.0F, std::numeric_limits<float>::denorm_min()}) {
            numbers[i] = good;
            CHECK(finite());
        }
    }
    CHECK(all_finite(nullptr, 0));
}
