// A request of HTTP/1.1 and its answer, as those who answer see them.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "grpc/message.hpp"
#include "http/form.hpp"
#include "http/request_head.hpp"

namespace persia::http {

using Clock = std::chrono::steady_clock;

struct Request {
    RequestHead head;
    Target target;
    grpc::ReceivedMessage body;
    std::string peer;      // `127.0.0.1:40312`, `unix:`
    std::string identity;  // by a certificate or a token; empty: nobody asked for one
    Clock::time_point arrived;

    std::string_view text() const { return {reinterpret_cast<const char*>(body.bytes().data()), body.size()}; }
};

struct Response {
    int status = 200;
    std::string reason;  // empty: the usual words for the status
    Headers headers;     // besides content-length, transfer-encoding and connection, which are the server's
    grpc::OutgoingMessage body;
    bool close = false;  // whether the connection ends with it
};

// Thread safety: any thread may call all of it. What is done for an exchange that has ended has no effect.
class Exchange {
  public:
    virtual ~Exchange() = default;

    virtual const Request& request() const = 0;
    // Whether it was answered, or the client has gone.
    virtual bool has_ended() const = 0;

    virtual void respond(Response response) = 0;

    // An answer whose length is not known yet: begin(), send() for each part, and end().
    virtual void begin(Response head) = 0;
    virtual void send(grpc::OutgoingMessage part) = 0;
    virtual void end() = 0;
};

using ExchangePtr = std::shared_ptr<Exchange>;

// A request that is about to be told its answer.
struct Answered {
    const RequestHead& head;  // as far as it could be read
    const std::string& peer;
    Clock::time_point since;  // it came
};

// Who answers. Thread safety: any thread may call all of it.
class Service {
  public:
    virtual ~Service() = default;
    // Answers now or later.
    virtual void on_request(const ExchangePtr& exchange) = 0;
    // The identity of who asks, or what it is told instead of an answer. It is asked for before the body is taken in.
    // certificate: the name that the client has proved by it; empty: none.
    virtual std::variant<std::string, Response> admit(const RequestHead& /*head*/, std::string_view certificate) const {
        return std::string(certificate);
    }
    // What a client is told whose request is none, or is too large.
    virtual Response refuse(const Refusal& refusal) const = 0;
    // What is to be added to each answer, before it is told. REQUIRES: it is quick, as the connection's lock is held.
    virtual void complete(const Answered& /*answered*/, Response& /*response*/) const {}
};

// Whether an answer of this status has a body: with these, clients read none, and would take it for the next answer.
constexpr bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

// The usual words for a status: `Not Found`.
std::string_view reason_of(int status);

}  // namespace persia::http
