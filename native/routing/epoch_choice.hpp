// The epoch that a router reads at: the newest one that every shard has, and never one before that of an earlier lookup.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "routing/replica_set.hpp"

namespace persia::routing {

class EpochChoice {
  public:
    // 0: there is a shard whose servers follow no epochs, and none was chosen as long as all did; then each shard answers from
    // the newest rows that it has. Shards of which no server can be used have no say. Where no epoch is common to all, that of
    // the lookup before is still the one to ask for, and whoever does not have it yet is waited for.
    std::uint64_t choose(std::span<const std::shared_ptr<ReplicaSet>> shards, std::uint64_t at_least);

    // A lookup has been answered from that epoch.
    void reached(std::uint64_t epoch);

  private:
    std::atomic<std::uint64_t> last_ = 0;
};

// The newest epoch, up to `most`, that one of the windows has; 0: there is none.
std::uint64_t newest_of(std::span<const EpochWindow::Range> windows, std::uint64_t most);

// The newest epoch that one of the windows of each shard has; 0: there is none. REQUIRES: there is a shard.
std::uint64_t newest_common(const std::vector<std::vector<EpochWindow::Range>>& shards);

}  // namespace persia::routing
