#include "plan/plan_counts.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.hpp"

namespace persia {

namespace {

constexpr std::size_t kIds = 0, kAbsent = 1, kWrongDim = 2, kCut = 3, kNumbers = 4;

void expect(const char* what, std::size_t expected, std::size_t got) {
    if (expected == got) return;
    throw InvalidInput("expected " + std::to_string(expected) + " " + what + ", got " + std::to_string(got));
}

void add_shard(const Plan& plan, std::size_t shard, std::span<const std::byte> misses, std::vector<std::uint32_t>& counts) {
    const PlannedRequest& request = plan.shards[shard];
    if (!misses.empty()) expect("bytes of misses by part", request.parts.size() * sizeof(RunMisses), misses.size());
    for (std::size_t i = 0; i < request.parts.size(); ++i) {
        std::uint32_t* of_feature = counts.data() + kNumbers * request.features[i];
        of_feature[kIds] += request.parts[i].signs;
        if (plan.features[request.features[i]].default_shard == shard) --of_feature[kIds];  // nobody sent it
        if (misses.empty()) continue;
        RunMisses missed;
        std::memcpy(&missed, misses.data() + i * sizeof(missed), sizeof(missed));
        of_feature[kAbsent] += missed.absent;
        of_feature[kWrongDim] += missed.wrong_dim;
    }
}

}  // namespace

std::vector<std::uint32_t> count_features(const Plan& plan, std::span<const std::optional<std::span<const std::byte>>> misses,
                                          FeatureCounts& counts) {
    expect("answers' misses", plan.shards.size(), misses.size());
    std::vector<std::uint32_t> numbers(kNumbers * plan.features.size());
    for (std::size_t s = 0; s < misses.size(); ++s) {
        if (misses[s]) add_shard(plan, s, *misses[s], numbers);
    }
    for (std::size_t i = 0; i < plan.features.size(); ++i) {
        std::uint32_t* of_feature = numbers.data() + kNumbers * i;
        of_feature[kAbsent] = std::min(of_feature[kAbsent], of_feature[kIds]);    // the default row may be missing itself
        of_feature[kCut] = static_cast<std::uint32_t>(plan.features[i].cut_ids);  // a batch has less than 4 GiB of ids
        counts.add(plan.features[i].slot->feature, of_feature[kIds], {of_feature[kAbsent], of_feature[kWrongDim]},
                   of_feature[kCut]);
    }
    return numbers;
}

}  // namespace persia
