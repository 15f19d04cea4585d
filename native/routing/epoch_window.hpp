// Which epochs a server can answer from, as it said last.
//
// It may be behind what the server has, and a server gives epochs up at any time. So it says whom to ask, and the server
// whether it has the epoch.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace persia::routing {

class EpochWindow {
  public:
    struct Range {
        std::uint64_t low = 0, high = 0;  // 0 both: none, or not said

        bool has(std::uint64_t epoch) const { return epoch >= low && epoch <= high && epoch != 0; }
    };

    // What a server said, which start number it has. Words of one start may come in another order than they were said in.
    void note(std::uint64_t server_start, Range said) {
        if (said.high == 0 && high_.load(std::memory_order_relaxed) == 0) return;
        if (start_.load(std::memory_order_acquire) == server_start && said.high == high_.load(std::memory_order_relaxed) &&
            said.low == low_.load(std::memory_order_relaxed)) {
            return;
        }
        const std::scoped_lock lock(mutex_);
        const bool is_same = start_.load(std::memory_order_relaxed) == server_start;
        if (is_same && said.high < high_.load(std::memory_order_relaxed)) return;
        low_.store(said.low, std::memory_order_relaxed);
        high_.store(said.high, std::memory_order_release);
        start_.store(server_start, std::memory_order_release);
    }

    Range range() const { return {low_.load(std::memory_order_relaxed), high_.load(std::memory_order_acquire)}; }

  private:
    std::mutex mutex_;  // of those who write
    std::atomic<std::uint64_t> start_ = 0, low_ = 0, high_ = 0;
};

}  // namespace persia::routing
