#include "serving/lookup_context.hpp"

#include <utility>

namespace persia::serving {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // each figure stands for itself

}  // namespace

LookupContext::LookupContext(const wire::ShardPlace& place, std::uint64_t server_start, std::size_t max_numbers,
                             std::vector<double> bounds, std::vector<std::string> features)
    : place_(place), server_start_(server_start), max_numbers_(max_numbers), calls_(std::move(bounds)),
      features_(std::move(features)) {}

void LookupContext::add_checkpoint(std::uint64_t epoch, std::uint64_t checkpoint_id) {
    const std::lock_guard lock(mutex_);
    while (!checkpoints_.empty() && checkpoints_.back().epoch >= epoch) checkpoints_.pop_back();
    checkpoints_.push_back({epoch, checkpoint_id});
    has_changed_.store(true, std::memory_order_release);
}

std::uint64_t LookupContext::changed_checkpoint_of(std::uint64_t epoch) const {
    const std::lock_guard lock(mutex_);
    for (auto change = checkpoints_.rbegin(); change != checkpoints_.rend(); ++change) {
        if (change->epoch <= epoch) return change->checkpoint_id;
    }
    return checkpoint_id_.load(std::memory_order_relaxed);
}

void LookupContext::set_state(std::string state) {
    const std::lock_guard lock(mutex_);
    state_ = std::move(state);
}

std::string LookupContext::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void LookupContext::set_readable(ReadableEpochs readable) {
    auto now = std::make_shared<const ReadableEpochs>(std::move(readable));
    const std::lock_guard lock(mutex_);
    readable_.swap(now);
}

std::shared_ptr<const ReadableEpochs> LookupContext::readable() const {
    const std::lock_guard lock(mutex_);
    return readable_;
}

void LookupContext::count(std::span<const RequestPart> parts, const Misses& misses, std::span<const RunMisses> by_part) {
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

LookupContext::Totals LookupContext::totals() const {
    return {lookups_.load(kRelaxed), signs_.load(kRelaxed), {absent_.load(kRelaxed), wrong_dim_.load(kRelaxed)}};
}

}  // namespace persia::serving
