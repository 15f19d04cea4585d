#include "table/retained_views.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "table/variants.hpp"

namespace persia {

void RetainedViews::clear(Dropped& dropped) {
    for (Kept& kept : kept_) dropped.push_back(std::move(kept.view));
    kept_.clear();
    bytes_ = 0;
}

RetainedViews::View RetainedViews::find(std::uint64_t epoch, Clock::time_point now) {
    const auto found = std::ranges::find_if(kept_, [&](const Kept& kept) { return kept.view->epoch() == epoch; });
    if (found == kept_.end()) return nullptr;
    found->asked = std::max(found->asked, now);
    return found->view;
}

void RetainedViews::hold(std::uint64_t epoch, Clock::time_point until) {
    const auto found = std::ranges::find_if(kept_, [&](const Kept& kept) { return kept.view->epoch() == epoch; });
    if (found != kept_.end()) found->asked = std::max(found->asked, until);
}

void RetainedViews::trim(const Snapshot& current, Clock::time_point now, Dropped& dropped) {
    const std::size_t most_bytes = this->most_bytes(current.base());
    bytes_ = bytes_beside(current);
    while (!kept_.empty()) {
        const bool is_over = kept_.size() > most_ && now - kept_.front().asked >= kLease;
        if (!is_over && bytes_ <= most_bytes) return;
        if (!is_over) ++given_up_;
        dropped.push_back(std::move(kept_.front().view));
        kept_.pop_front();
        bytes_ = bytes_beside(current);
    }
}

bool RetainedViews::any_before(std::uint64_t number) const {
    return std::ranges::any_of(kept_, [&](const Kept& kept) { return kept.view->number() < number; });
}

std::size_t RetainedViews::bytes_beside(const Snapshot& current) const {
    std::set<const Layer*> counted;
    for (const auto& layer : current.layers()) counted.insert(layer.get());
    if (current.variants() != nullptr) current.variants()->bytes_beside(counted);
    std::size_t bytes = 0;
    for (const Kept& kept : kept_) {
        for (const auto& layer : kept.view->layers()) {
            if (counted.insert(layer.get()).second) bytes += layer->rows.bytes() + layer->filter.bytes();
        }
        if (const auto& variants = kept.view->variants()) bytes += variants->bytes_beside(counted);
    }
    return bytes;
}

}  // namespace persia
