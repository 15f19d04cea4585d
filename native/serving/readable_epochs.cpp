#include "serving/dense_epochs.hpp"

#include <algorithm>

namespace persia::serving {

DenseEpochs::DenseEpochs(const std::vector<Change>& changes) {
    for (const Change& change : changes) {
        std::vector<Version>& versions = models_[change.dense.model];
        if (versions.empty()) versions.push_back({1, 0});
        versions.push_back({change.epoch, change.dense.version});
    }
}

const std::vector<DenseEpochs::Version>* DenseEpochs::versions_of(std::uint64_t model) const {
    const auto found = models_.find(model);
    return found == models_.end() ? nullptr : &found->second;
}

bool DenseEpochs::may_read(const wire::DenseId& dense, std::uint64_t epoch) const {
    return newest_run(dense, epoch, epoch).last == epoch;
}

wire::EpochRun DenseEpochs::newest_run(const wire::DenseId& dense, std::uint64_t low, std::uint64_t high) const {
    const std::vector<Version>* versions = versions_of(dense.model);
    if (versions == nullptr) return {high == 0 ? 0U : 1U, high};
    wire::EpochRun run;
    std::uint64_t last = high;
    for (auto one = versions->rbegin(); one != versions->rend(); ++one) {
        if (one->since > last) continue;
        const bool may_read = one->version == 0 || one->version == dense.version;
        if (!may_read && run.last != 0) break;
        if (run.last == 0 && last < std::max<std::uint64_t>(low, 1)) break;
        if (may_read) run = {one->since, run.last == 0 ? last : run.last};
        last = one->since - 1;
    }
    return run;
}

}  // namespace persia::serving
