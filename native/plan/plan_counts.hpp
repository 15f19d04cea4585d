// How the ids of each feature of a batch fared, by what the shards say.
//
// Thread safety: a plain function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "plan/plan.hpp"
#include "table/feature_counts.hpp"

namespace persia {

// Four numbers for each feature, in the order of the batch: ids, those without a row, those whose row has another dim, and
// those that were cut off; `counts` gets the same. misses: of each shard its RunMisses by part, as bytes, empty where there are
// none, or nothing where the shard has not answered. Throws InvalidInput for columns that do not fit.
std::vector<std::uint32_t> count_features(const Plan& plan, std::span<const std::optional<std::span<const std::byte>>> misses,
                                          FeatureCounts& counts);

}  // namespace persia
