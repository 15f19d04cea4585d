// Numbers that are good, more of which become known while calls are under way.
#pragma once

#include <cstdint>
#include <mutex>
#include <set>

namespace persia::routing {

// Thread safety: any thread may call all of it.
class IdSet {
  public:
    void add(std::uint64_t id) {
        const std::scoped_lock lock(mutex_);
        ids_.insert(id);
    }

    bool contains(std::uint64_t id) const {
        const std::scoped_lock lock(mutex_);
        return ids_.contains(id);
    }

  private:
    mutable std::mutex mutex_;
    std::set<std::uint64_t> ids_;
};

}  // namespace persia::routing
