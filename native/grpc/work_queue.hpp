// Who may work now, who waits for a turn, and who is refused at once.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

#include "grpc/server_call.hpp"

namespace persia::grpc {

// Work for a call. bytes: how much it is, as Method::work_of() says.
struct Work {
    ServerCallPtr call;
    std::size_t bytes = 0;
    std::function<void()> run;  // throws nothing
};

// There are as many turns as may be at work. Whoever brings work and gets a turn does the work itself, and then that of those
// who wait. What the work of a byte takes is learned, and from that how long the queue is: a call that would be answered after
// its deadline is refused when it comes, not after it has waited. What nobody waits for any more is dropped before it is begun.
class WorkQueue {
  public:
    WorkQueue(std::size_t turns, std::chrono::nanoseconds longest);

    // Returns when it was done (with maybe others after it), stands in line, or was refused: then the call is finished with
    // RESOURCE_EXHAUSTED, and `grpc-retry-pushback-ms` in its trailers.
    void submit(Work work);
    // The same, but that it is never done here: somebody is to call help() soon. False: it was refused.
    bool put(Work work);
    // Does what waits, if there is a turn for it.
    void help();
    // Lets go of what waits: nobody will do it.
    void drop();

    std::size_t waiting() const;
    struct Counts {
        std::uint64_t refused = 0;  // when they came
        std::uint64_t dropped = 0;  // when it was their turn
    };
    Counts counts() const;

    // How long work on so many bytes takes, of late.
    std::chrono::nanoseconds estimate(std::size_t bytes) const;

  private:
    bool stand_in_line(Work work, std::unique_lock<std::mutex>& lock);
    void work_off(Work work, std::unique_lock<std::mutex>& lock);
    void run(const Work& work, bool try_anyway);
    void learn(std::size_t bytes, std::chrono::nanoseconds took);

    const std::size_t turns_;
    const std::chrono::nanoseconds longest_;
    mutable std::mutex mutex_;  // over what follows
    std::deque<Work> waiting_;
    std::size_t waiting_bytes_ = 0;
    std::size_t at_work_ = 0;
    std::size_t bytes_at_work_ = 0;
    Counts counts_;
    std::atomic<double> nanoseconds_per_byte_;
};

}  // namespace persia::grpc
