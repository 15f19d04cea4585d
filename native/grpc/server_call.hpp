// A call as the methods of a server see it, and what a method is.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "grpc/message.hpp"
#include "grpc/metadata.hpp"
#include "grpc/status.hpp"

namespace persia::grpc {

// Who calls, what for, and for how long.
struct CallInfo {
    std::string path;  // `/package.Service/Method`
    Metadata metadata;
    std::string peer;      // `127.0.0.1:40312`, `[::1]:40312`, `unix:`
    std::string identity;  // by a certificate or a token; empty: nobody asked for one
    Clock::time_point arrived;
    std::optional<Clock::time_point> deadline;
};

// Thread safety: any thread may call all of it. What is done for a call that has ended has no effect.
class ServerCall {
  public:
    virtual ~ServerCall() = default;

    virtual const CallInfo& info() const = 0;

    // Whether it was finished, cancelled or lost, or its time is over: nobody waits for an answer.
    virtual bool has_ended() const = 0;

    // One message of the answer. A unary call has one, and finish() follows.
    virtual void send(OutgoingMessage message) = 0;
    // Goes with the end of the call, whatever that is. REQUIRES: a key that is_reserved() does not know.
    virtual void add_trailer(std::string key, std::string value) = 0;
    // REQUIRES for ok: all messages were sent before.
    virtual void finish(Status status, Metadata trailers = {}) = 0;
    // send() and finish() with ok in one.
    virtual void reply(OutgoingMessage message) = 0;

    // Bytes of the answer that the caller has not taken yet.
    virtual std::size_t unsent() const = 0;
    // Calls `tell` once, when fewer bytes than that are unsent or the call has ended; at once, if it is so. REQUIRES: `tell` is
    // quick and asks nothing of the server, whose locks may be held. One at a time.
    virtual void when_unsent_below(std::size_t bytes, std::function<void()> tell) = 0;

    // Memory for an answer, of the server's budget. False: so much is not left.
    virtual bool reserve(Reservation& reservation, std::size_t bytes) = 0;
};

using ServerCallPtr = std::shared_ptr<ServerCall>;

// Who hears how each call has ended that was answered or refused. Thread safety: any thread may call it.
class CallObserver {
  public:
    virtual ~CallObserver() = default;
    // REQUIRES: it is quick, as the connection's lock is held.
    virtual void on_end(const CallInfo& call, Code code, const Metadata& trailers) = 0;
};

// What answers the calls of one path. Thread safety: all of it may be called by several threads at once, for one call as well.
class Method {
  public:
    virtual ~Method() = default;

    // The request of a unary call; or the next message of a stream, one after the other.
    virtual void on_message(const ServerCallPtr& call, ReceivedMessage message) = 0;

    // Whether the client may send any number of messages. A unary call of a client that sends none or several is refused.
    virtual bool takes_stream() const { return false; }
    // Of a stream: the client has no more.
    virtual void on_messages_end(const ServerCallPtr& /*call*/) {}
    // The call has ended, in whichever way. Only for methods that ask for it by watches_end().
    virtual void on_call_end(const ServerCallPtr& /*call*/) {}
    virtual bool watches_end() const { return false; }

    // How much work a message is, in bytes that are read and written; 0: next to none. What is more than a little waits for its
    // turn (grpc/work_queue.hpp), so that there are not more at work than processors, and is refused where it would wait for
    // longer than its caller.
    virtual std::size_t work_of(const ReceivedMessage& /*message*/) const { return 0; }
};

}  // namespace persia::grpc
