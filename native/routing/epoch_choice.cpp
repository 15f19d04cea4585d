#include "routing/epoch_choice.hpp"

#include <algorithm>

namespace persia::routing {

std::uint64_t newest_of(std::span<const EpochWindow::Range> windows, std::uint64_t most) {
    std::uint64_t newest = 0;
    for (const EpochWindow::Range& window : windows) {
        if (window.high != 0 && window.low <= most) newest = std::max(newest, std::min(window.high, most));
    }
    return newest;
}

std::uint64_t newest_common(const std::vector<std::vector<EpochWindow::Range>>& shards, std::uint64_t most) {
    std::uint64_t epoch = most;
    for (std::size_t agreeing = 0, i = 0; agreeing < shards.size(); i = (i + 1) % shards.size()) {
        const std::uint64_t newest = newest_of(shards[i], epoch);
        if (newest == 0) return 0;
        agreeing = newest == epoch ? agreeing + 1 : 1;
        epoch = newest;
    }
    return epoch;
}

std::uint64_t EpochChoice::choose(std::span<const std::shared_ptr<ReplicaSet>> shards, std::uint64_t at_least) {
    std::vector<std::vector<EpochWindow::Range>> windows;
    for (const auto& shard : shards) {
        std::vector<EpochWindow::Range> usable;
        bool any = false;
        for (const auto& replica : *shard->replicas()) {
            if (!replica->usable()) continue;
            any = true;
            if (const auto range = replica->epochs().range(); range.high != 0) usable.push_back(range);
        }
        if (any && usable.empty()) return 0;
        if (any) windows.push_back(std::move(usable));
    }
    if (!windows.empty()) reached(newest_to_read(windows));
    const std::uint64_t last = last_.load(std::memory_order_relaxed);
    return std::max(last == 0 ? first_to_read() : last, at_least);
}

std::uint64_t EpochChoice::newest_to_read(const std::vector<std::vector<EpochWindow::Range>>& windows) const {
    if (!by_runs_) return newest_common(windows);
    for (const wire::EpochRun& run : runs_.all()) {
        const std::uint64_t epoch = newest_common(windows, run.last);
        if (run.has(epoch)) return epoch;
    }
    return 0;
}

std::uint64_t EpochChoice::first_to_read() const {
    const auto runs = runs_.all();
    return runs.empty() ? 0 : runs.front().first;
}

void EpochChoice::reached(std::uint64_t epoch) {
    std::uint64_t last = last_.load(std::memory_order_relaxed);
    while (epoch > last && !last_.compare_exchange_weak(last, epoch, std::memory_order_relaxed)) {
    }
}

}  // namespace persia::routing
