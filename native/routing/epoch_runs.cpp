#include "routing/epoch_runs.hpp"

#include <algorithm>

namespace persia::routing {

void EpochRuns::note(wire::EpochRun said) {
    if (said.last == 0) return;
    const std::lock_guard lock(mutex_);
    if (std::ranges::any_of(runs_, [&](const auto& run) { return run.first <= said.first && said.last <= run.last; })) return;
    std::erase_if(runs_, [&](const wire::EpochRun& run) {
        if (run.first > said.last + 1 || said.first > run.last + 1) return false;
        said = {std::min(said.first, run.first), std::max(said.last, run.last)};
        return true;
    });
    runs_.insert(std::ranges::find_if(runs_, [&](const auto& run) { return run.last < said.first; }), said);
    if (runs_.size() > kMost) runs_.pop_back();
}

std::vector<wire::EpochRun> EpochRuns::all() const {
    const std::lock_guard lock(mutex_);
    return runs_;
}

bool EpochRuns::empty() const {
    const std::lock_guard lock(mutex_);
    return runs_.empty();
}

}  // namespace persia::routing
