// How much a client asks for at once. What is more waits in the client, where it takes neither a server's memory nor its time.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "grpc/metadata.hpp"
#include "routing/on_wait.hpp"

namespace persia::routing {

using grpc::Clock;

// Calls take turns in the order in which they come. As many have one as fit so many bytes of requests, and one has one whatever
// its size. A call that gets none in time is refused then, and not when it comes: callers that are refused come back at once,
// and to refuse them again and again takes the processors from those who are answered.
//
// Thread safety: any thread may call all of it.
class AskingTurns {
  public:
    // Of requests to each server: more than is under way in a fast network, and so little that a server that has too much to do
    // already does not get all that its clients have.
    static constexpr std::size_t kBytesForServer = 2 << 20;
    // A call waits for this part of its time. Then it is refused if others get their answers. If they do not, it goes ahead
    // without a turn: what they wait for may be a server that hangs, which is no reason not to ask another one.
    static constexpr double kPatience = 0.75;

    explicit AskingTurns(std::size_t bytes_at_once) : bytes_at_once_(bytes_at_once) {}
    AskingTurns(const AskingTurns&) = delete;
    AskingTurns& operator=(const AskingTurns&) = delete;

    // Ends when it goes. Movable.
    class Turn {
      public:
        Turn() = default;
        Turn(Turn&& other) noexcept { *this = std::move(other); }
        Turn& operator=(Turn&& other) noexcept {
            std::swap(turns_, other.turns_);
            std::swap(bytes_, other.bytes_);
            return *this;
        }
        ~Turn() {
            if (turns_ != nullptr) turns_->end(bytes_);
        }

      private:
        friend class AskingTurns;
        Turn(AskingTurns* turns, std::size_t bytes) : turns_(turns), bytes_(bytes) {}

        AskingTurns* turns_ = nullptr;
        std::size_t bytes_ = 0;
    };

    // Does not wait. bytes: of the request. nullopt: it would have to wait.
    std::optional<Turn> try_take(std::size_t bytes);
    // Waits. end: when the call is given up. Throws grpc::CallFailed: RESOURCE_EXHAUSTED.
    Turn take(std::size_t bytes, Clock::time_point end, const OnWait& on_wait = {});

    std::size_t waiting() const;

  private:
    struct Waiter {
        std::size_t bytes;
        bool has_turn = false;
        std::condition_variable called = {};
    };

    // REQUIRES of them all: the lock.
    bool may_begin(std::size_t bytes) const;
    void wait(Waiter& waiter, Clock::time_point until, const OnWait& on_wait, std::unique_lock<std::mutex>& lock);
    void forget(const Waiter& waiter);
    void call_next();

    void end(std::size_t bytes);

    const std::size_t bytes_at_once_;
    mutable std::mutex mutex_;  // over what follows
    std::deque<Waiter*> waiting_;
    std::size_t bytes_under_way_ = 0;
    Clock::time_point last_end_ = {};  // of a turn
};

}  // namespace persia::routing
