// What fills a table before it serves. Rows are written straight into the base.
//
// Thread safety: every method may be called from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <utility>

#include "base/rows.hpp"
#include "table/eviction.hpp"
#include "table/parallel_put.hpp"
#include "table/row_map.hpp"
#include "table/snapshot.hpp"

namespace persia {

struct TableOptions {
    RowStorage storage = RowStorage::f32;
    std::uint64_t capacity = 0;       // rows; 0: no limit. Beyond it the least recently used rows go, when layers are folded.
    std::size_t retained_epochs = 8;  // before the current one
    double retained_share = 0.1;      // of the base's memory: what these may take, or 64 MiB
    std::size_t max_layers = 8;       // with more, and a reader that holds the fold up, layers are merged into one
};

// After it became a table, or was spoilt, every method throws InvalidInput.
class TableBuilder {
  public:
    explicit TableBuilder(TableOptions options);

    // Stores every row of the block that belongs to the shard; of two rows of one sign, the later. Returns how many belong.
    // Several threads fill the table at a time. Beyond the capacity the least recently used rows go, as far as blocks tell
    // recency; evicted() counts them.
    std::uint64_t put(const RowBlock& block, Shard shard = {});

    // Index space for `rows` more at once; saves the work of growing where the number is known.
    void reserve(std::uint64_t rows);

    std::uint64_t rows() const;
    std::uint64_t evicted() const;
    std::size_t bytes() const;
    const TableOptions& options() const { return options_; }

    // Drops all rows for good, because some of those that were meant to be here are missing. So half of a file is never
    // served.
    void spoil(const std::string& reason);

  private:
    friend class Table;

    // Lets in those that put rows, or one that does anything else. A shared_mutex alone would let that one wait for as long as
    // there is always somebody who puts rows.
    class Gate {
      public:
        std::shared_lock<std::shared_mutex> for_rows() {
            const std::lock_guard turn(turn_);
            return std::shared_lock(mutex_);
        }
        std::unique_lock<std::shared_mutex> alone() {
            const std::lock_guard turn(turn_);
            return std::unique_lock(mutex_);
        }

      private:
        std::mutex turn_;
        std::shared_mutex mutex_;
    };

    void give_away(std::string reason);

    const RowMap& base() const;
    RowMap& base() { return const_cast<RowMap&>(std::as_const(*this).base()); }
    void evict();

    const TableOptions options_;
    mutable Gate gate_;
    ParallelPut parallel_put_;
    std::optional<RowMap> base_;
    std::string gone_;                       // why there is no base, if there is none
    std::atomic<std::uint64_t> at_most_{0};  // so many rows: to count them, whoever puts some would wait for all others
    EvictionClock clock_;
    std::uint64_t evicted_ = 0;
};

}  // namespace persia
