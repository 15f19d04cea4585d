// What a shard answers lookups from, and what is counted of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "persia/feature_counts.hpp"
#include "persia/shard_request.hpp"
#include "persia/table.hpp"

namespace persia {

// How often each, since the start.
struct LookupTotals {
    std::uint64_t lookups = 0;
    std::uint64_t signs = 0;
    Misses misses;
    std::uint64_t nanoseconds = 0;      // that lookups took, those that failed as well
    std::vector<std::uint64_t> within;  // how many took at most each of the bounds and more than the one before
    std::uint64_t beyond = 0;           // and how many more than all of them
};

// Thread safety: any thread may call all of it.
class ShardAnswers {
  public:
    // request: the message of every request that is meant for this shard, as it is sent. start: the server_start of answers.
    // max_numbers: of an answer. bounds: seconds, ascending, of the histogram of what lookups take. features: the names of
    // those that are counted each.
    ShardAnswers(std::string request, std::uint64_t start, std::size_t max_numbers, std::vector<double> bounds,
                 std::vector<std::string> features);

    // From now on, lookups are answered from the table, which was loaded from that checkpoint. REQUIRES: the table lives as
    // long as this.
    void open(const Table& table, std::uint64_t checkpoint) {
        checkpoint_.store(checkpoint, std::memory_order_relaxed);
        table_.store(&table, std::memory_order_release);
    }
    // From now on, they are not.
    void close() { table_.store(nullptr, std::memory_order_release); }
    // Null: there is none to answer from.
    const Table* table() const { return table_.load(std::memory_order_acquire); }

    const std::string& request() const { return request_; }
    std::uint64_t start() const { return start_; }
    std::size_t max_numbers() const { return max_numbers_; }
    // REQUIRES: table() was not null.
    std::uint64_t checkpoint() const { return checkpoint_.load(std::memory_order_relaxed); }

    // A lookup that was answered. by_part: as answer() gives them. REQUIRES: it has as many as there are parts, or none.
    void count(std::span<const RequestPart> parts, const Misses& misses, std::span<const RunMisses> by_part);
    void took(double seconds);
    LookupTotals totals() const;
    const FeatureCounts& features() const { return features_; }

  private:
    const std::string request_;
    const std::uint64_t start_;
    const std::size_t max_numbers_;
    const std::vector<double> bounds_;
    std::atomic<const Table*> table_{nullptr};
    std::atomic<std::uint64_t> checkpoint_{0};
    std::atomic<std::uint64_t> lookups_{0}, signs_{0}, absent_{0}, wrong_dim_{0}, nanoseconds_{0};
    std::vector<std::atomic<std::uint64_t>> within_;  // one more than bounds: beyond
    FeatureCounts features_;
};

}  // namespace persia
