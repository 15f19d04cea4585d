// The epochs that a version of a dense model may read, as far as a router has heard of them.
//
// Records never change, so what any server has said holds for all of them, and for good.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "wire/rows_for.hpp"

namespace persia::routing {

class EpochRuns {
  public:
    static constexpr std::size_t kMost = 8;  // runs: older ones are forgotten, whose epochs no server has any more

    // A run that a server has said, which begins where the records say so.
    void note(wire::EpochRun said);

    // The newest one first.
    std::vector<wire::EpochRun> all() const;
    bool empty() const;

  private:
    mutable std::mutex mutex_;
    std::vector<wire::EpochRun> runs_;  // the newest one first; no two of them touch
};

}  // namespace persia::routing
