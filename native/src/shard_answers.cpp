#include "persia/shard_answers.hpp"

#include <algorithm>
#include <utility>

namespace persia {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // each figure stands for itself

}  // namespace

ShardAnswers::ShardAnswers(std::string request, std::uint64_t start, std::size_t max_numbers, std::vector<double> bounds,
                           std::vector<std::string> features)
    : request_(std::move(request)), start_(start), max_numbers_(max_numbers), bounds_(std::move(bounds)),
      within_(bounds_.size() + 1), features_(std::move(features)) {}

void ShardAnswers::count(std::span<const RequestPart> parts, const Misses& misses, std::span<const RunMisses> by_part) {
    std::uint64_t signs = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        signs += parts[i].signs;
        features_.add(parts[i].feature, parts[i].signs, by_part.empty() ? RunMisses{} : by_part[i]);
    }
    lookups_.fetch_add(1, kRelaxed);
    signs_.fetch_add(signs, kRelaxed);
    if (misses.absent != 0) absent_.fetch_add(misses.absent, kRelaxed);
    if (misses.wrong_dim != 0) wrong_dim_.fetch_add(misses.wrong_dim, kRelaxed);
}

void ShardAnswers::took(double seconds) {
    const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), seconds);
    within_[static_cast<std::size_t>(bound - bounds_.begin())].fetch_add(1, kRelaxed);
    nanoseconds_.fetch_add(static_cast<std::uint64_t>(std::max(seconds, 0.0) * 1e9), kRelaxed);
}

LookupTotals ShardAnswers::totals() const {
    LookupTotals totals;
    totals.lookups = lookups_.load(kRelaxed);
    totals.signs = signs_.load(kRelaxed);
    totals.misses = {absent_.load(kRelaxed), wrong_dim_.load(kRelaxed)};
    totals.nanoseconds = nanoseconds_.load(kRelaxed);
    for (std::size_t i = 0; i < bounds_.size(); ++i) totals.within.push_back(within_[i].load(kRelaxed));
    totals.beyond = within_.back().load(kRelaxed);
    return totals;
}

}  // namespace persia
