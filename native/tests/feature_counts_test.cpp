// What is counted for each feature, by what a batch asks and by what shards say of it.
#include "table/feature_counts.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "batches.hpp"
#include "check.hpp"
#include "plan/plan_counts.hpp"

using namespace persia;

TEST(each_of_many_features_is_found_and_all_others_are_counted_together) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < 1'000; ++i) names.push_back("feature " + std::to_string(i));
    FeatureCounts counts(names);
    for (std::size_t i = 0; i < names.size(); ++i) counts.add(feature_id(names[i]), i, {1, 2}, 3);
    counts.add(feature_id("another one"), 10, {4, 5});
    counts.add(0, 20, {});
    const auto totals = counts.totals();
    CHECK(totals.size() == names.size() + 1);
    for (std::size_t i = 0; i < names.size(); ++i) {
        CHECK(totals[i].ids == i && totals[i].misses.absent == 1 && totals[i].misses.wrong_dim == 2 && totals[i].cut == 3);
    }
    CHECK(totals.back().ids == 30 && totals.back().misses.absent == 4 && totals.back().misses.wrong_dim == 5);
}

TEST(without_names_all_features_are_counted_together) {
    FeatureCounts counts({});
    counts.add(feature_id("a"), 2, {1, 0});
    CHECK(counts.totals().size() == 1 && counts.totals()[0].ids == 2);
}

TEST(what_shards_say_of_parts_is_counted_for_the_features_of_the_batch) {
    const auto bytes = encoded({{"b", {{1, 2, 3}, {4, 5}}}, {"a", {{1}, {}}}, {"c", {{}, {}}}});
    const Slots slots({{.name = "a", .dim = 4}, {.name = "b", .dim = 4}, {.name = "c", .dim = 4}}, 8);
    Plan plan = make_plan(decode_batch(bytes), slots, 2);
    plan.features[0].cut_ids = 7;
    FeatureCounts counts({"a", "b", "c"});
    std::vector<RunMisses> missed;  // of the first shard: an id of each part has no row; the second one has all
    for (std::size_t i = 0; i < plan.shards[0].parts.size(); ++i) missed.push_back({1, 0});
    const auto said = std::as_bytes(std::span(missed));
    const std::optional<std::span<const std::byte>> misses[] = {said, std::span<const std::byte>{}};
    const auto numbers = count_features(plan, misses, counts);
    std::uint32_t absent[3] = {};
    for (const std::uint32_t place : plan.shards[0].features) absent[place] = 1;
    CHECK(absent[0] == 1);  // else nothing is tried here
    CHECK(numbers == (std::vector<std::uint32_t>{5, absent[0], 0, 7, 1, absent[1], 0, 0, 0, 0, 0, 0}));
    const auto totals = counts.totals();
    CHECK(totals[0].ids == 1 && totals[1].ids == 5 && totals[1].misses.absent == 1 && totals[1].cut == 7);
    // A shard that has not answered does not count.
    const std::optional<std::span<const std::byte>> one[] = {std::nullopt, std::span<const std::byte>{}};
    const auto rest = count_features(plan, one, counts);
    CHECK(rest[0] + rest[4] < 6 && rest[1] == 0);
    for (const std::size_t size : {1U, 8U * 9U}) {
        const std::vector<std::byte> wrong(size);
        const std::optional<std::span<const std::byte>> columns[] = {wrong, std::span<const std::byte>{}};
        bool refused = false;
        try {
            count_features(plan, columns, counts);
        } catch (const InvalidInput&) {
            refused = true;
        }
        CHECK(refused);
    }
}
