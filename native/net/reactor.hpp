// Threads that wait for sockets and for times, and tell whoever wants to know.
//
// All threads wait on one epoll. A socket is waited for once: whoever was told waits again (wait_for) when it has done its
// part, so that no two threads are told of one socket at the same time, unless the first of them has asked for it.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <thread>
#include <unordered_map>
#include <vector>

#include "grpc/descriptors.hpp"

namespace persia::net {

using Clock = std::chrono::steady_clock;

// Has a socket, of which it is told.
class Watched {
  public:
    virtual ~Watched() = default;
    virtual int socket() const = 0;
    // The socket can be read or written, or has failed: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR.
    virtual void on_ready(std::uint32_t events) = 0;
};

// Thread safety: any thread may call all of it.
class Reactor {
  public:
    using Key = std::uint64_t;

    Reactor();
    ~Reactor();  // stops
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;

    // Lets threads begin to tell. REQUIRES: not started.
    void start(std::size_t threads);
    // Returns when no thread tells anybody any more. What is watched is let go. REQUIRES: not called by one of its threads.
    void stop();

    // Nobody is told before wait_for().
    Key watch(std::shared_ptr<Watched> watched);
    // Tells once when one of `events` has come. What is not watched any more is passed over.
    void wait_for(Key key, int socket, std::uint32_t events);
    // Nobody is told any more, after those that are being told. The socket may be closed.
    void forget(Key key);

    // Calls `tell` once, at that time or soon after. It must be quick, and must not throw.
    void at(Clock::time_point time, std::function<void()> tell);

  private:
    struct Timer {
        Clock::time_point time;
        std::uint64_t number;  // timers of one time go in order
        std::shared_ptr<std::function<void()>> tell;
        bool operator>(const Timer& other) const { return time != other.time ? time > other.time : number > other.number; }
    };

    void run();
    void tell_of_time();
    void set_alarm(Clock::time_point time);
    std::shared_ptr<Watched> find(Key key) const;

    const grpc::Descriptor epoll_, wake_, alarm_;
    std::atomic<bool> stopping_{false};
    std::vector<std::thread> threads_;
    mutable std::mutex mutex_;  // over what follows
    std::unordered_map<Key, std::shared_ptr<Watched>> watched_;
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
    Key last_key_;
    std::uint64_t timers_made_ = 0;
};

}  // namespace persia::net
