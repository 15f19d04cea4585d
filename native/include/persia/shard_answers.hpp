// What a shard answers lookups from, and what is counted of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

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
    // max_numbers: of an answer. bounds: seconds, ascending, of the histogram of what lookups take.
    ShardAnswers(std::string request, std::uint64_t start, std::size_t max_numbers, std::vector<double> bounds);

    // From now on, lookups are answered from the table. REQUIRES: it lives as long as this.
    void open(const Table& table) { table_.store(&table, std::memory_order_release); }
    // From now on, they are not.
    void close() { table_.store(nullptr, std::memory_order_release); }
    // Null: there is none to answer from.
    const Table* table() const { return table_.load(std::memory_order_acquire); }

    const std::string& request() const { return request_; }
    std::uint64_t start() const { return start_; }
    std::size_t max_numbers() const { return max_numbers_; }

    void count(std::uint64_t signs, const Misses& misses);
    void took(double seconds);
    LookupTotals totals() const;

  private:
    const std::string request_;
    const std::uint64_t start_;
    const std::size_t max_numbers_;
    const std::vector<double> bounds_;
    std::atomic<const Table*> table_{nullptr};
    std::atomic<std::uint64_t> lookups_{0}, signs_{0}, absent_{0}, wrong_dim_{0}, nanoseconds_{0};
    std::vector<std::atomic<std::uint64_t>> within_;  // one more than bounds: beyond
};

}  // namespace persia
