#include "table/feature_counts.hpp"

#include <utility>

#include "base/hash_string.hpp"

namespace persia {

std::uint32_t feature_id(std::string_view name) { return static_cast<std::uint32_t>(fingerprint64(name)); }

FeatureCounts::FeatureCounts(std::vector<std::string> names) : names_(std::move(names)), counters_(names_.size() + 1) {
    std::size_t size = 2;
    while (size < 2 * names_.size()) size *= 2;
    known_.resize(size);
    for (std::size_t i = 0; i < names_.size(); ++i) {
        const std::uint32_t feature = feature_id(names_[i]);
        if (place_of(feature) != names_.size()) continue;
        std::size_t at = feature & (size - 1);
        while (known_[at].place != 0) at = (at + 1) & (size - 1);
        known_[at] = {feature, static_cast<std::uint32_t>(i + 1)};
    }
}

std::vector<FeatureCount> FeatureCounts::totals() const {
    constexpr auto kRelaxed = std::memory_order_relaxed;  // each figure stands for itself
    std::vector<FeatureCount> totals;
    totals.reserve(counters_.size());
    for (const Counter& counter : counters_) {
        totals.push_back({counter.ids.load(kRelaxed),
                          {counter.absent.load(kRelaxed), counter.wrong_dim.load(kRelaxed)},
                          counter.cut.load(kRelaxed)});
    }
    return totals;
}

}  // namespace persia
