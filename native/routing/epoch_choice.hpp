// The epoch that a router reads at: the newest one that every shard has, and never one before that of an earlier lookup. For a
// version of a dense model, or for a variant, it is the newest one of those that may be read for it.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "routing/epoch_runs.hpp"
#include "routing/replica_set.hpp"

namespace persia::routing {

class EpochChoice {
  public:
    // by_runs: only epochs of runs that were noted are chosen.
    explicit EpochChoice(bool by_runs = false) : by_runs_(by_runs) {}

    // 0: there is a shard whose servers follow no epochs, and none was chosen as long as all did; then each shard answers from
    // the newest rows that it has. Shards of which no server can be used have no say. Where no epoch is common to all, that of
    // the lookup before is still the one to ask for, and whoever does not have it yet is waited for. By runs it
    // is the first epoch of the newest one, before any lookup.
    std::uint64_t choose(std::span<const std::shared_ptr<ReplicaSet>> shards, std::uint64_t at_least);

    // A lookup has been answered from that epoch.
    void reached(std::uint64_t epoch);

    // Epochs that may be read.
    void note(const wire::EpochRun& run) { runs_.note(run); }
    // Whether nobody has said an epoch that may be read.
    bool may_read_none() const { return by_runs_ && runs_.empty(); }

  private:
    std::uint64_t first_to_read() const;
    std::uint64_t newest_to_read(const std::vector<std::vector<EpochWindow::Range>>& windows) const;

    const bool by_runs_;
    EpochRuns runs_;
    std::atomic<std::uint64_t> last_ = 0;
};

// The newest epoch, up to `most`, that one of the windows has; 0: there is none.
std::uint64_t newest_of(std::span<const EpochWindow::Range> windows, std::uint64_t most);

// The newest epoch, up to `most`, that one of the windows of each shard has; 0: there is none. REQUIRES: there is a shard.
std::uint64_t newest_common(const std::vector<std::vector<EpochWindow::Range>>& shards, std::uint64_t most = ~std::uint64_t{0});

}  // namespace persia::routing
