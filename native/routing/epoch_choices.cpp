#include "routing/epoch_choices.hpp"

#include <algorithm>

namespace persia::routing {

std::shared_ptr<EpochChoice> EpochChoices::of(const wire::DenseId& dense) {
    if (!dense.is_said()) return free_;
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mutex_);
    Bound& bound = bound_[dense];
    if (bound.choice == nullptr) bound.choice = std::make_shared<EpochChoice>(true);
    bound.asked = now;
    const std::shared_ptr<EpochChoice> choice = bound.choice;
    if (bound_.size() > kMost) forget_the_least_recent();
    return choice;
}

std::vector<wire::DenseId> EpochChoices::watched() const {
    const Clock::time_point now = Clock::now();
    std::vector<wire::DenseId> watched;
    if (own_.is_said()) watched.push_back(own_);
    const std::lock_guard lock(mutex_);
    for (const auto& [dense, bound] : bound_) {
        if (dense != own_ && now - bound.asked < kFor) watched.push_back(dense);
    }
    return watched;
}

void EpochChoices::note(const wire::DenseId& dense, const wire::EpochRun& run) {
    const std::lock_guard lock(mutex_);
    if (dense == own_ && !bound_.contains(dense)) bound_[dense] = {std::make_shared<EpochChoice>(true), Clock::now()};
    if (const auto found = bound_.find(dense); found != bound_.end()) found->second.choice->note(run);
}

void EpochChoices::forget_the_least_recent() {
    bound_.erase(std::ranges::min_element(bound_, {}, [](const auto& one) { return one.second.asked; }));
}

}  // namespace persia::routing
