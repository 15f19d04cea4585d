#include "routing/replica_set.hpp"

#include <algorithm>
#include <utility>

namespace persia::routing {

ReplicaSet::ReplicaSet(std::string name, Replicas replicas)
    : name_(std::move(name)), replicas_(std::make_shared<const Replicas>(std::move(replicas))) {}

std::shared_ptr<const ReplicaSet::Replicas> ReplicaSet::replicas() const {
    const std::scoped_lock lock(mutex_);
    return replicas_;
}

void ReplicaSet::set_replicas(Replicas replicas, std::string unresolved) {
    auto now = std::make_shared<const Replicas>(std::move(replicas));
    const std::scoped_lock lock(mutex_);
    replicas_.swap(now);
    unresolved_ = std::move(unresolved);
}

bool ReplicaSet::usable() const {
    return std::ranges::any_of(*replicas(), [](const auto& replica) { return replica->usable(); });
}

bool ReplicaSet::hanging(Clock::time_point now) const {
    return std::ranges::all_of(
        *replicas(), [&](const auto& replica) { return !replica->usable() || replica->standing(now) == Standing::hanging; });
}

std::shared_ptr<Replica> ReplicaSet::choose(Clock::time_point now, std::span<const std::shared_ptr<Replica>> other_than,
                                            std::uint64_t epoch) {
    const std::shared_ptr<const Replicas> all = replicas();
    const auto may_be_asked = [&](const std::shared_ptr<Replica>& replica) {
        return replica->usable() && (epoch == 0 || replica->epochs().range().has(epoch)) &&
               std::ranges::find(other_than, replica) == other_than.end();
    };
    if (all->size() == 1) return may_be_asked(all->front()) ? all->front() : nullptr;
    Standing least = Standing::hanging;
    Replicas best;
    for (const auto& replica : *all) {
        if (!may_be_asked(replica)) continue;
        const Standing standing = replica->standing(now);
        if (standing > least) continue;
        if (standing < least) best.clear();
        least = standing;
        best.push_back(replica);
    }
    if (best.empty()) return nullptr;
    return best[turn_.fetch_add(1, std::memory_order_relaxed) % best.size()];
}

Clock::time_point ReplicaSet::unusable_since() const {
    const std::shared_ptr<const Replicas> all = replicas();
    if (all->empty()) return made_;
    Clock::time_point last = Clock::time_point::min();
    for (const auto& replica : *all) last = std::max(last, replica->unusable_since());
    return last;
}

std::string ReplicaSet::why_unusable() const {
    std::string reasons;
    const auto add = [&](const std::string& reason) { reasons += (reasons.empty() ? "" : "; ") + reason; };
    for (const auto& replica : *replicas()) add(replica->address() + ": " + replica->why_unusable());
    const std::scoped_lock lock(mutex_);
    if (!unresolved_.empty()) add(unresolved_);
    return reasons.empty() ? "no address is known yet" : reasons;
}

std::string ReplicaSet::epochs_there() const {
    std::string there;
    for (const auto& replica : *replicas()) {
        if (!replica->usable()) continue;
        const EpochWindow::Range range = replica->epochs().range();
        there += (there.empty() ? "" : "; ") + replica->address() + " has the epochs " + std::to_string(range.low) + " to " +
                 std::to_string(range.high);
    }
    return there;
}

void ReplicaSet::close() {
    for (const auto& replica : *replicas()) replica->close();
}

}  // namespace persia::routing
