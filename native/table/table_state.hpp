// What a table and its folding thread share with the snapshots, which may outlive the table.
//
// Thread safety: everything but `stopping` is for whoever holds the mutex.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "table/retained_views.hpp"
#include "table/table.hpp"

namespace persia {

using Layers = std::vector<std::shared_ptr<const Layer>>;
using VariantsPtr = std::shared_ptr<const Variants>;

struct Table::State : std::enable_shared_from_this<Table::State> {
    using Dropped = RetainedViews::Dropped;

    State(std::size_t retained_epochs, double share) : retained(retained_epochs, share) {}

    mutable std::mutex mutex;
    mutable std::condition_variable changed;
    std::shared_ptr<const Snapshot> current;
    RetainedViews retained;                             // of the epochs before the current one, without gaps
    std::multiset<std::uint64_t> in_use;                // the numbers of all living snapshots; a view has that of another one
    std::vector<std::unique_ptr<const Snapshot>> dead;  // to be taken apart by the folding thread
    std::uint64_t next_number = 0;
    std::uint64_t evicted = 0;
    std::uint64_t failed_at = ~std::uint64_t{0};  // the snapshot that was current when a fold failed: wait for another
    std::optional<std::string> fold_error;
    std::atomic<bool> stopping{false};

    // Makes a snapshot the current one. Returns what is to be dropped without the mutex.
    [[nodiscard]] Dropped install(std::uint64_t version, std::uint64_t epoch, Base base, Layers layers,
                                  VariantsPtr variants) noexcept;

    // A snapshot that counts as in use from now on.
    std::shared_ptr<const Snapshot> make(std::uint64_t number, std::uint64_t version, std::uint64_t epoch, Base base,
                                         Layers layers, VariantsPtr variants);

    bool may_try() const { return failed_at != current->number(); }

    bool can_fold() const {
        return may_try() && !current->layers().empty() && *in_use.begin() >= current->layers().back()->first_snapshot;
    }

    // Whether an earlier epoch would see what is written when the oldest layer is folded.
    bool must_cover() const {
        return may_try() && !current->layers().empty() && retained.any_before(current->layers().back()->first_snapshot);
    }

    bool must_merge(std::size_t max_layers) const { return may_try() && current->layers().size() > max_layers; }

  private:
    struct Burial;
    static void bury(State& state, const Snapshot* snapshot) noexcept;
};

}  // namespace persia
