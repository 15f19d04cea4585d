// Calls that end when their time is over, and the timer that says so.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "grpc/descriptors.hpp"
#include "grpc/server_connection.hpp"

namespace persia::grpc {

// Thread safety: any thread may call all of it, with the lock of a connection as well.
class Deadlines {
  public:
    // look_every: how often somebody is to look after the connections, beside the deadlines.
    explicit Deadlines(Clock::duration look_every);

    // Readable when on_time() has something to do.
    int descriptor() const { return timer_.number; }

    void start();

    // The call is told when its time is over, even when it is over by now.
    void watch(const std::shared_ptr<ConnectedCall>& call);

    struct Due {
        std::vector<std::shared_ptr<ConnectedCall>> late;
        bool look;  // it is time to look after the connections
    };
    // What the timer says now; it is set anew.
    Due on_time(Clock::time_point now);

    // Calls that are watched. Some of them may have ended.
    std::size_t size();

  private:
    using Deadline = std::pair<Clock::time_point, std::weak_ptr<ConnectedCall>>;
    struct Later {
        bool operator()(const Deadline& one, const Deadline& other) const { return one.first > other.first; }
    };
    static constexpr std::size_t kFew = 1024;

    void forget_ended();
    void set_timer();

    const Clock::duration look_every_;
    const Descriptor timer_;
    std::mutex mutex_;              // over what follows
    std::vector<Deadline> heap_;    // the soonest first
    std::size_t forget_at_ = kFew;  // when it is so long, those that have ended are left out
    Clock::time_point next_look_;
};

}  // namespace persia::grpc
