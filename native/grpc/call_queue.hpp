// Calls that are answered by threads of somebody else, such as an interpreter's: they take one after the other.
//
// Thread safety: any thread may call all of it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "grpc/server_call.hpp"

namespace persia::grpc {

class CallQueue : public std::enable_shared_from_this<CallQueue> {
  public:
    // Calls that stand in line beyond `most` are refused, and streams with more messages that nobody has taken yet.
    explicit CallQueue(std::size_t most = 1024) : most_(most) {}

    // A request, or what comes over a stream. While it lives, nobody gets the next one of the same stream.
    class Item {
      public:
        Item(std::shared_ptr<CallQueue> queue, ServerCallPtr of_call, std::optional<ReceivedMessage> what);
        ~Item();
        Item(Item&&) = default;
        Item& operator=(Item&&) = delete;

        // Lets the call come again, as another item, when fewer bytes than that are unsent or it has ended. At most once.
        void come_again(std::size_t below);

        ServerCallPtr call;
        std::optional<ReceivedMessage> message;  // nullopt: the client of a stream has no more, or the call comes again

      private:
        std::shared_ptr<CallQueue> queue_;
    };

    // Waits for so many seconds at most; nullopt: nothing came, or the queue was closed. What nobody waits for is left out.
    std::optional<Item> next(double seconds);
    bool closed() const;
    // Nothing is taken any more, and what stands in line is refused.
    void close();

    // A method whose calls stand in this line.
    std::shared_ptr<Method> method(bool takes_stream);

  private:
    class QueuedMethod;
    struct Event {
        std::optional<ReceivedMessage> message;
        bool again = false;
    };
    struct Call {
        std::deque<Event> events;
        bool is_out = false;  // an item of it lives
    };

    void add(const ServerCallPtr& call, std::optional<ReceivedMessage> message);
    void add_again(const ServerCallPtr& call);
    void put(const ServerCallPtr& call, Event event);
    void stand_in_line(const ServerCallPtr& call, const Call& state);
    void done(const ServerCallPtr& call);

    const std::size_t most_;
    mutable std::mutex mutex_;  // over what follows
    std::condition_variable come_;
    std::unordered_map<const ServerCall*, Call> calls_;  // of which there is something, or an item lives
    std::deque<ServerCallPtr> line_;                     // those with events, of which no item lives
    bool closed_ = false;
};

}  // namespace persia::grpc
