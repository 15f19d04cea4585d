// A client's end of a connection: unary calls, one at a time, without waiting. grpc/wait.hpp waits for several at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "grpc/http2.hpp"
#include "grpc/memory_budget.hpp"
#include "grpc/message.hpp"
#include "grpc/metadata.hpp"
#include "grpc/status.hpp"
#include "grpc/transport.hpp"

namespace persia::grpc {

struct CallRequest {
    std::string_view path;  // `/package.Service/Method`
    OutgoingMessage message;
    std::string_view token = {};                     // shown as `authorization: Bearer`; empty: none
    std::optional<Clock::time_point> deadline = {};  // the server is told; whoever waits keeps to it
    const Metadata* metadata = nullptr;              // null: none
    Reservation memory = {};                         // for the answer, of whose budget more is taken for a larger one
};

// How a call ended.
struct Reply {
    Status status;
    ReceivedMessage message;  // where the status is ok
    Metadata trailers;        // without what gRPC keeps for itself

    // Whether the status is the server's word: it may be made up of what came instead of one.
    bool is_servers_word = false;
    // Whether it is certain that the server did nothing for the call, so that it may be asked again whatever it does.
    bool unprocessed = false;
    // Of one that has too much to do: when it may be asked again; negative: it should not be. nullopt: it said nothing of that.
    std::optional<std::chrono::milliseconds> pushback;
};

struct ClientLimits {
    std::size_t max_answer_bytes = kMaxMessageBytes;
    Http2Limits http2{.max_streams = 0};
};

// Thread safety: for one thread at a time. No function blocks.
class ClientConnection {
  public:
    enum class State {
        idle,      // no call, or its reply was taken
        pending,   // more is to be sent or to come
        complete,  // the reply is there, and the connection can be used again if is_usable()
        failed,    // so is what became of the call; the connection is of no more use
    };

    // authority: the host that calls are for, with its port. encrypted: whether the transport is.
    ClientConnection(std::unique_ptr<Transport> transport, const std::string& authority, const ClientLimits& limits = {},
                     bool encrypted = false);
    ~ClientConnection();  // gives up a call that is under way
    ClientConnection(const ClientConnection&) = delete;
    ClientConnection& operator=(const ClientConnection&) = delete;

    // Begins a call, and sends of it what the socket takes. It may have failed afterwards. REQUIRES: idle.
    void begin(CallRequest request) noexcept;

    // Goes on as far as it can, where a call is pending.
    void advance() noexcept;

    State state() const;
    bool has_ended() const { return state() == State::complete || state() == State::failed; }

    // REQUIRES: has_ended. Afterwards it is idle if it was complete.
    Reply take();

    // Gives the call up, and tells the server. Afterwards it is idle, unless it has failed; it is usable again when the server
    // has shown that it is there. REQUIRES: not idle.
    void cancel() noexcept;
    // Whether the server has been asked whether it is there, and has not answered yet.
    bool waits_for_pong() const;

    // Between two calls: takes what has come, and says whether another call may be begun. REQUIRES: idle or failed.
    bool is_usable() noexcept;

    // When the last call began. REQUIRES: there was one.
    Clock::time_point began() const;

    // What is waited for while a call is pending.
    int socket() const;
    bool wants_to_read() const;
    bool wants_to_write() const;
    bool has_buffered() const;  // it need not be waited at all

    // Whether the server has taken the connection. It may still be busy with its handshake.
    bool is_connected() const;

  private:
    class Session;
    std::unique_ptr<Session> session_;
};

}  // namespace persia::grpc
