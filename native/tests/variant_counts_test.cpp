// How many lookups there were for each variant.
#include "serving/variant_counts.hpp"

#include "check.hpp"

using persia::serving::VariantCounts;

TEST(each_variant_is_counted_and_shared_rows_are_not) {
    VariantCounts counts;
    for (const std::uint64_t variant : {7, 0, 8, 7}) counts.add(variant);
    counts.add_unknown();
    const auto totals = counts.totals();
    CHECK(totals.answered.size() == 2 && totals.answered.at(7) == 2 && totals.answered.at(8) == 1 && totals.unknown == 1);
}

TEST(more_variants_than_are_told_apart_are_counted_together) {
    VariantCounts counts;
    for (std::uint64_t variant = 1; variant <= VariantCounts::kMost + 5; ++variant) counts.add(variant);
    counts.add(1);
    const auto totals = counts.totals();
    CHECK(totals.answered.size() == VariantCounts::kMost + 1 && totals.answered.at(0) == 5 && totals.answered.at(1) == 2);
}
