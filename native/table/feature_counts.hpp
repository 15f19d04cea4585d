// How the ids of each feature fared, summed up over lookups.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "table/snapshot.hpp"

namespace persia {

// What stands for a feature in a RequestPart: the lower half of the fingerprint of its name.
std::uint32_t feature_id(std::string_view name);

struct FeatureCount {
    std::uint64_t ids = 0;
    Misses misses;
    std::uint64_t cut = 0;  // ids of raw slots beyond the length that the model sees
};

class FeatureCounts {
  public:
    // Features with other names are counted together. Of two names with one id the first one has the counts of both.
    explicit FeatureCounts(std::vector<std::string> names);
    FeatureCounts(const FeatureCounts&) = delete;
    FeatureCounts& operator=(const FeatureCounts&) = delete;

    const std::vector<std::string>& names() const { return names_; }

    void add(std::uint32_t feature, std::uint64_t ids, const RunMisses& misses, std::uint64_t cut = 0) {
        Counter& counter = counters_[place_of(feature)];
        counter.ids.fetch_add(ids, std::memory_order_relaxed);
        if (misses.absent != 0) counter.absent.fetch_add(misses.absent, std::memory_order_relaxed);
        if (misses.wrong_dim != 0) counter.wrong_dim.fetch_add(misses.wrong_dim, std::memory_order_relaxed);
        if (cut != 0) counter.cut.fetch_add(cut, std::memory_order_relaxed);
    }

    // In the order of the names, and at the end those of all other features.
    std::vector<FeatureCount> totals() const;

  private:
    struct Counter {
        std::atomic<std::uint64_t> ids{0}, absent{0}, wrong_dim{0}, cut{0};
    };
    // An entry of a table with open addressing, of which at most half is used.
    struct Known {
        std::uint32_t feature = 0;
        std::uint32_t place = 0;  // + 1; 0: the entry is free
    };

    // names_.size() for a feature that has none of the names.
    std::size_t place_of(std::uint32_t feature) const {
        const std::size_t mask = known_.size() - 1;
        std::size_t at = feature & mask;
        for (; known_[at].place != 0; at = (at + 1) & mask) {
            if (known_[at].feature == feature) return known_[at].place - 1;
        }
        return names_.size();
    }

    const std::vector<std::string> names_;
    std::vector<Known> known_;
    std::vector<Counter> counters_;
};

}  // namespace persia
