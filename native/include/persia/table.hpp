// The sign table of one shard while it serves: snapshots for readers, layers for updates, and a thread that folds layers into
// the base.
//
// Publishing a layer swaps one pointer, so readers wait for no more than that and never see half a layer. The folding thread
// moves the oldest layer into the base, in place, under these invariants:
//   1. It starts only when every snapshot in use holds that layer. So whoever could meet a sign of the layer in the base
//      finds it in the layer first, and never reads a row or an index entry that is being written.
//   2. Once it is done, a snapshot without the layer is published. The layer goes when the last snapshot that holds it does.
//   3. Eviction is a layer of deletions, put under all others, and folded like them.
// Snapshots are taken apart by the folding thread, so that no reader pays for giving memory back.
//
// Thread safety: every method of Table and of TableBuilder may be called from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>

#include "persia/eviction.hpp"
#include "persia/parallel_put.hpp"
#include "persia/snapshot.hpp"

namespace persia {

struct TableOptions {
    RowStorage storage = RowStorage::f32;
    std::uint64_t capacity = 0;  // rows; 0: no limit. Beyond it the least recently used rows go, when layers are folded.
    std::size_t max_layers = 8;  // with more, and a reader that holds the fold up, layers are merged into one
};

struct TableStatus {
    std::uint64_t version = 0;
    std::uint64_t base_rows = 0;
    std::map<std::uint32_t, std::uint64_t> base_rows_by_dim;
    std::uint64_t layer_rows = 0;  // rows and deletions that wait to be folded
    std::size_t layers = 0;
    std::uint64_t evicted = 0;  // rows, since the start
    std::size_t snapshots = 0;  // in use, the current one included
    std::size_t base_bytes = 0;
    std::size_t layer_bytes = 0;
    std::optional<std::string> fold_error;  // why the last fold failed; its layer stays, and is served from where it is
};

// Fills a table before it serves. Rows are written straight into the base. After it became a table, or was spoilt, every method
// throws InvalidInput.
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

class Table {
  public:
    // Takes the rows out of the builder.
    explicit Table(TableBuilder& builder);
    ~Table();
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    // The newest version, for as long as the pointer lives. It may outlive the table. Never waits for a fold.
    std::shared_ptr<const Snapshot> pin() const;

    // Makes the layer the newest; returns its version. REQUIRES: the layer has this table's row storage (else InvalidInput).
    std::uint64_t publish(Layer&& layer);

    // Waits until no layer is left, or until `seconds` are over (false). A snapshot that is held without end holds this up.
    bool wait_folded(double seconds) const;

    TableStatus status() const;
    const TableOptions& options() const { return options_; }

  private:
    struct State;

    void fold_loop();
    void fold_oldest(const Snapshot& now);
    void end_fold(Base base, std::shared_ptr<Layer> deletions, bool succeeded) noexcept;
    void merge_layers(const Snapshot& now);

    TableOptions options_;
    std::shared_ptr<State> state_;
    EvictionClock clock_;  // the folding thread's
    std::thread folder_;
};

}  // namespace persia
