#include "table/index.hpp"

#include <random>
#include <unordered_map>
#include <vector>

#include "check.hpp"

using namespace persia;

TEST(an_empty_index_finds_nothing) {
    const Index index(kLayerShape);
    CHECK(index.find(0).ref == kNoRef);
    CHECK(index.find(~std::uint64_t{0}).ref == kNoRef);
    CHECK(index.size() == 0);
}

TEST(it_agrees_with_a_map_through_inserts_and_removals) {
    for (const IndexShape shape : {kLayerShape, kBaseShape}) {
        std::mt19937_64 random(7);
        Index index(shape);
        std::unordered_map<std::uint64_t, std::uint32_t> map;
        for (std::uint32_t step = 1; step < 60'000; ++step) {
            const std::uint64_t sign = random() % 9'000;  // small, so that signs come and go
            if (random() % 3 == 0) {
                const auto known = map.find(sign);
                CHECK(index.remove(sign) == (known == map.end() ? kNoRef : known->second));
                map.erase(sign);
            } else if (map.emplace(sign, step).second) {
                index.insert(sign, step, 0);
            }
        }
        CHECK(index.size() == map.size());
        for (std::uint64_t sign = 0; sign < 9'000; ++sign) {
            const auto known = map.find(sign);
            CHECK(index.find(sign).ref == (known == map.end() ? kNoRef : known->second));
        }
    }
}

TEST(for_each_meets_every_sign_once) {
    Index index(kBaseShape);
    for (std::uint32_t i = 0; i < 5'000; ++i) index.insert(i * 3, i + 1, 0);
    std::unordered_map<std::uint64_t, int> met;
    index.for_each([&](const Entry& entry, std::uint64_t sign) {
        CHECK(entry.ref == sign / 3 + 1);
        ++met[sign];
    });
    CHECK(met.size() == 5'000);
    for (const auto& [sign, times] : met) CHECK(times == 1);
}

TEST(memory_stays_close_to_the_load_at_any_size) {
    Index index(kBaseShape);
    std::uint32_t n = 0;
    for (const std::uint32_t checkpoint : {20'000U, 100'000U, 131'073U, 300'000U, 777'777U}) {
        for (; n < checkpoint; ++n) index.insert(std::uint64_t{n} * 0x9e3779b97f4a7c15ULL, n + 1, 0);
        CHECK(static_cast<double>(index.bytes()) / n < 18.5);
    }
}

TEST(a_copy_keeps_what_it_had_when_the_original_grows) {
    Index index(kLayerShape);
    for (std::uint32_t i = 0; i < 100; ++i) index.insert(i, i + 1, 0);
    const Index before = index;
    for (std::uint32_t i = 100; i < 10'000; ++i) index.insert(i, i + 1, 0);
    for (std::uint32_t i = 0; i < 100; ++i) CHECK(before.find(i).ref == i + 1);
    CHECK(before.find(5'000).ref == kNoRef);
    CHECK(index.find(5'000).ref == 5'001);
}

TEST(a_full_bucket_that_overflowed_is_searched_past_until_nothing_is_past_it) {
    Index index(kLayerShape);
    index.reserve(1'000);
    // Signs that share one home bucket, more than it holds.
    const Part part = index.part_at(0);
    std::vector<std::uint64_t> same;
    for (std::uint64_t sign = 0; same.size() < 12; ++sign) {
        if (part.home(table_hash(sign)) == part.buckets + 7) same.push_back(sign);
    }
    for (std::size_t i = 0; i < same.size(); ++i) index.insert(same[i], static_cast<std::uint32_t>(i + 1), 0);
    for (std::size_t i = 0; i < same.size(); ++i) CHECK(index.find(same[i]).ref == i + 1);
    CHECK(Part::was_passed(part.buckets + 7));
    for (std::size_t i = 0; i < same.size(); ++i) {
        CHECK(index.remove(same[i]) == i + 1);
        for (std::size_t k = i + 1; k < same.size(); ++k) CHECK(index.find(same[k]).ref == k + 1);
    }
    CHECK(!Part::was_passed(part.buckets + 7));
    CHECK(!Part::was_passed(part.buckets + 8));
}
