#include "routing/epoch_choices.hpp"

#include <algorithm>

namespace persia::routing {

std::shared_ptr<EpochChoice> EpochChoices::of(const wire::RowsFor& rows_for) {
    if (!rows_for.is_said()) return free_;
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    Bound& bound = bound_[rows_for];
    if (bound.choice == nullptr) bound.choice = std::make_shared<EpochChoice>(true);
    bound.asked = now;
    const std::shared_ptr<EpochChoice> choice = bound.choice;
    if (bound_.size() > kMost) forget_the_least_recent();
    return choice;
}

std::vector<wire::RowsFor> EpochChoices::watched() const {
    const Clock::time_point now = Clock::now();
    std::vector<wire::RowsFor> watched;
    if (own_.is_said()) watched.push_back(own_);
    const std::lock_guard lock(mutex_);
    for (const auto& [rows_for, bound] : bound_) {
        if (rows_for != own_ && is_watched(rows_for, bound, now)) watched.push_back(rows_for);
    }
    return watched;
}

bool EpochChoices::is_watched(const wire::RowsFor& rows_for, const Bound& bound, Clock::time_point now) const {
    if (now - bound.asked < kFor) return true;
    return rows_for.without_variant() == own_ && !bound.choice->may_read_none() && now - bound.asked < kVariantFor;
}

void EpochChoices::note(const wire::RowsFor& rows_for, const wire::EpochRun& run) {
    const std::lock_guard lock(mutex_);
    if (rows_for == own_ && !bound_.contains(rows_for)) bound_[rows_for] = {std::make_shared<EpochChoice>(true), Clock::now()};
    if (const auto found = bound_.find(rows_for); found != bound_.end()) found->second.choice->note(run);
}

void EpochChoices::forget_the_least_recent() {
    bound_.erase(std::ranges::min_element(bound_, {}, [](const auto& one) { return one.second.asked; }));
}

}  // namespace persia::routing
