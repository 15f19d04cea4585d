// What clients and servers say to each other when all is well, for those who spoil it; and a server and a client that get it.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http2_caller.hpp"
#include "memory_transport.hpp"
#include "one_shard.hpp"
#include "serving/health.hpp"

namespace persia::grpc {

constexpr const char *kLookup = "/persia.v1.EmbeddingServer/Lookup", *kForward = "/persia.v1.Middleware/Forward",
                     *kStream = "/test.Test/Stream";

// A stream whose messages are answered with themselves.
class EchoedStream final : public Method {
  public:
    void on_message(const ServerCallPtr& call, ReceivedMessage message) override {
        call->send(OutgoingMessage(text_of(message.bytes())));
    }
    void on_messages_end(const ServerCallPtr& call) override { call->finish({}, {{"ended-bin", "yes"}}); }
    bool takes_stream() const override { return true; }
};

// Lookups of a table, a stream, and limits that are soon reached.
class Answering {
  public:
    Answering() : server(limits()) {
        server.shared->methods[kLookup] = shard.method;
        server.shared->methods[kStream] = std::make_shared<EchoedStream>();
    }

    // Everything a client says, in pieces of so many bytes. Returns whether the connection was of use to the end.
    bool hear(std::string_view bytes, std::size_t piece) {
        server.connect();
        bool alive = true;
        while (alive && !bytes.empty()) {
            alive = server.take(bytes.substr(0, piece));
            bytes.remove_prefix(std::min(piece, bytes.size()));
            most_memory = std::max(most_memory, server.shared->budget->used());
        }
        if (alive) server.hang_up();
        server.connection.reset();
        return alive;
    }

    static constexpr std::size_t kMemory = 1 << 20;
    static ServerLimits limits() {
        ServerLimits limits;
        limits.max_request_bytes = limits.max_answer_bytes = 64 << 10;
        limits.max_memory_bytes = kMemory;
        limits.http2.max_streams = 4;
        limits.http2.max_header_bytes = 4 << 10;
        return limits;
    }

    OneShard shard;
    MemoryServer server;
    std::size_t most_memory = 0;
};

// What becomes of a client's call to which a server says just these bytes, and hangs up. nullopt: it does not end.
inline std::optional<Reply> end_of(std::string_view bytes, std::size_t piece, std::shared_ptr<MemoryBudget> budget = nullptr) {
    const auto in = std::make_shared<Pipe>(), out = std::make_shared<Pipe>();
    ClientLimits limits;
    limits.max_answer_bytes = 64 << 10;
    ClientConnection client(std::make_unique<MemoryTransport>(in, out), "test:1", limits);
    client.begin(
        {.path = kLookup, .message = OutgoingMessage(std::string("question")), .memory = Reservation(std::move(budget))});
    while (!bytes.empty() && !client.has_ended()) {
        in->bytes.append(bytes.substr(0, piece));
        bytes.remove_prefix(std::min(piece, bytes.size()));
        while (!in->bytes.empty() && !client.has_ended()) client.advance();
    }
    in->closed = true;
    for (int i = 0; i < 3 && !client.has_ended(); ++i) client.advance();
    if (!client.has_ended()) return std::nullopt;
    Reply reply = client.take();
    client.is_usable();
    return reply;
}

inline std::string text_of_message(const Bytes& bytes) { return text_of(std::span(bytes)); }

// As clients begin, ask, and end.
inline std::vector<std::string> client_conversations() {
    std::vector<std::string> all;
    for (const Wire& columns : valid_requests()) {
        Http2Caller caller;
        caller.call(kLookup, framed(text_of_message(aligned_message(columns))), {{"grpc-timeout", "9S"}, {"key-bin", "AQI"}});
        caller.call(kLookup, framed(text_of_message(plain_message(columns))), {{"authorization", "Bearer 0123456789abcdef"}});
        caller.ping();
        all.push_back(caller.bytes());
    }
    Http2Caller caller;
    const std::int32_t stream = caller.call(kStream, framed("one"), {{"grpc-encoding", "gzip"}}, false);
    std::string said = caller.bytes();
    caller.send_more(stream, framed("two") + framed("") + framed(some_text(3'000)), false);
    const std::int32_t given_up = caller.call(kStream, framed("x"), {}, false);
    said += caller.bytes();
    caller.reset(given_up);
    caller.call("/test.Test/None", "", {{"x", std::string(200, 'x')}});
    caller.send_more(stream, framed("three"), true);
    all.push_back(said + caller.bytes());
    return all;
}

}  // namespace persia::grpc
