// Answers lookups on one connection from beginning to end without the interpreter: as long as they are like all others.
//
// A thread that works in Python has to fetch the interpreter's own code and data anew for each request, for others have used
// the caches since. On two busy cores that was two thirds of what a lookup of 1,700 signs took in a server.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "persia/frame.hpp"
#include "persia/shard_answers.hpp"

namespace persia {

// Thread safety: serve() in one thread at a time; waits_since() in any.
class FrameLane {
  public:
    // REQUIRES: `answers` lives as long as this.
    explicit FrameLane(ShardAnswers& answers);

    // Answers requests on a connected socket that blocks. Returns when one has come, or come in part, that is not for this
    // lane (another message, columns that do not fit, too large, no table): all of its bytes that were read, and maybe of those
    // that follow it. Empty at the end of the connection. Throws IoError.
    std::span<const std::byte> serve(int socket);

    // Since when it waits for the next request, in seconds of the steady clock; infinite while it has one, and from when it
    // has handed one back until the next serve().
    double waits_since() const { return waits_since_.load(std::memory_order_relaxed); }

  private:
    struct Memory {
        std::unique_ptr<std::byte[]> bytes;
        std::size_t size = 0;

        // Room for `needed` bytes, of which the first `used` ones are kept.
        void hold(std::size_t needed, std::size_t used);
        // What is too much to keep.
        void give_back();
    };

    // Reads the request until at least, and at most, so many bytes are there. False: the connection has ended before.
    bool receive(int socket, std::size_t& got, std::size_t least, std::size_t most);
    // False: the request is not for this lane.
    bool answer(int socket, const FrameHeader& header);

    ShardAnswers& answers_;
    Memory request_, numbers_;
    std::vector<RunMisses> misses_;  // kept for its memory
    std::atomic<double> waits_since_;
};

}  // namespace persia
