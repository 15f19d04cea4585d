// The servers that can do the same work.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "routing/asking_turns.hpp"
#include "routing/replica.hpp"
#include "routing/retry_budget.hpp"

namespace persia::routing {

// Thread safety: any thread may call all of it.
class ReplicaSet {
  public:
    using Replicas = std::vector<std::shared_ptr<Replica>>;

    // name: for messages, such as `shard 1 of 2`.
    ReplicaSet(std::string name, Replicas replicas);

    const std::string& name() const { return name_; }

    // As they are now.
    std::shared_ptr<const Replicas> replicas() const;
    // Those that were there and are no more are not closed. unresolved: what is wrong with names, for messages; empty: nothing.
    void set_replicas(Replicas replicas, std::string unresolved = "");

    bool usable() const;
    // Whether none that can be used answers even probes.
    bool hanging(Clock::time_point now) const;

    // In turn, one of those that can be used, have the epoch (0: whatever they have), and have the least trouble; null: there
    // is none.
    std::shared_ptr<Replica> choose(Clock::time_point now, std::span<const std::shared_ptr<Replica>> other_than = {},
                                    std::uint64_t epoch = 0);

    // REQUIRES: choose() has found none.
    Clock::time_point unusable_since() const;
    // What each replica says.
    std::string why_unusable() const;
    // Which epochs each replica that can be used has.
    std::string epochs_there() const;

    RetryBudget& budget() { return budget_; }
    AskingTurns& turns() { return turns_; }

    void close();

  private:
    const std::string name_;
    const Clock::time_point made_ = Clock::now();
    mutable std::mutex mutex_;  // over the two that follow
    std::shared_ptr<const Replicas> replicas_;
    std::string unresolved_;
    std::atomic<std::size_t> turn_ = 0;
    RetryBudget budget_;
    AskingTurns turns_{AskingTurns::kBytesForServer};
};

}  // namespace persia::routing
