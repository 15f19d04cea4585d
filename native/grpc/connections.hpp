// The clients of a server that are there now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace persia::grpc {

// Connection: has a number, id(), and says by idleness() who goes first when room is needed: nullopt: not this one.
//
// Thread safety: any thread may call all of it.
template <class Connection>
class Connections {
  public:
    using Pointer = std::shared_ptr<Connection>;

    void add(Pointer connection) {
        const std::lock_guard lock(mutex_);
        connections_.emplace(connection->id(), std::move(connection));
    }

    // Null: it is not there any more.
    Pointer find(std::uint64_t id) const {
        const std::lock_guard lock(mutex_);
        const auto found = connections_.find(id);
        return found == connections_.end() ? nullptr : found->second;
    }

    void remove(std::uint64_t id) {
        Pointer last;  // is destroyed, and its socket closed, without the lock
        const std::lock_guard lock(mutex_);
        const auto found = connections_.find(id);
        if (found == connections_.end()) return;
        last = std::move(found->second);
        connections_.erase(found);
    }

    void clear() {
        std::unordered_map<std::uint64_t, Pointer> last;
        const std::lock_guard lock(mutex_);
        last.swap(connections_);
    }

    std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return connections_.size();
    }

    std::vector<Pointer> all() const {
        const std::lock_guard lock(mutex_);
        std::vector<Pointer> all;
        all.reserve(connections_.size());
        for (const auto& [id, connection] : connections_) all.push_back(connection);
        return all;
    }

    // The one that may go when room is needed. Null: all are at work.
    Pointer most_idle() const {
        Pointer found;
        decltype(std::declval<const Connection&>().idleness()) most;
        for (const Pointer& connection : all()) {
            const auto idleness = connection->idleness();
            if (!idleness || (most && *most <= *idleness)) continue;
            most = idleness;
            found = connection;
        }
        return found;
    }

  private:
    mutable std::mutex mutex_;
    std::unordered_map<std::uint64_t, Pointer> connections_;
};

}  // namespace persia::grpc
