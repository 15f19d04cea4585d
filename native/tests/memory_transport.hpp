// Both sides of a connection over memory: no sockets, no threads, the same each time.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/client_connection.hpp"
#include "grpc/deadlines.hpp"
#include "grpc/server_connection.hpp"
#include "grpc/transport.hpp"

namespace persia::grpc {

// What one end has said and the other one has not taken yet.
struct Pipe {
    std::string bytes;
    bool closed = false;
};

class MemoryTransport final : public Transport {
  public:
    // at_once: how much a read or a write takes at most.
    MemoryTransport(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out, std::size_t at_once = std::size_t{1} << 30)
        : in_(std::move(in)), out_(std::move(out)), at_once_(at_once) {}

    Result read(std::span<const iovec> into) override {
        std::size_t got = 0;
        for (const iovec& part : into) {
            const std::size_t size = std::min({part.iov_len, in_->bytes.size() - got, at_once_ - got});
            if (size != 0) std::memcpy(part.iov_base, in_->bytes.data() + got, size);
            got += size;
        }
        in_->bytes.erase(0, got);
        if (got != 0) return {Outcome::some, got};
        return {in_->closed ? Outcome::ended : Outcome::none};
    }
    Result write(std::span<const iovec> from) override {
        std::size_t sent = 0;
        for (const iovec& part : from) {
            const std::size_t size = std::min(part.iov_len, at_once_ - sent);
            out_->bytes.append(static_cast<const char*>(part.iov_base), size);
            sent += size;
        }
        return {Outcome::some, sent};
    }
    bool reads_in_pieces() const override { return true; }
    bool has_buffered() const override { return !in_->bytes.empty(); }
    void shut_down() noexcept override { out_->closed = true; }
    int socket() const override { return -1; }
    std::string error() const override { return "it has failed"; }

  private:
    const std::shared_ptr<Pipe> in_, out_;
    const std::size_t at_once_;
};

// A server with one connection, served by the thread of the test.
class MemoryServer {
  public:
    struct Shared final : ServerShared {
        explicit Shared(const ServerLimits& all_limits) : ServerShared(all_limits, nullptr) {}
        void wait_for(const ServerConnection&, bool) override {}
        void watch_deadline(const std::shared_ptr<ConnectedCall>& call) override { deadlines.watch(call); }
        void on_much_to_read() override { ++much_to_read; }

        int much_to_read = 0;  // turns that were said to be long
        Deadlines deadlines{std::chrono::hours(1)};
    };

    explicit MemoryServer(const ServerLimits& limits = {}) : shared(std::make_shared<Shared>(limits)) {}

    // A new connection. Methods are those of `shared`.
    void connect(std::size_t at_once = std::size_t{1} << 30) {
        in = std::make_shared<Pipe>();
        out = std::make_shared<Pipe>();
        connection =
            std::make_shared<ServerConnection>(1, *shared, std::make_unique<MemoryTransport>(in, out, at_once), "memory");
    }
    // Takes bytes, and answers what they ask. False: the connection is of no more use.
    bool take(std::string_view bytes) {
        in->bytes.append(bytes);
        return serve();
    }
    bool hang_up() {
        in->closed = true;
        return serve();
    }
    std::string said() { return std::exchange(out->bytes, {}); }

    std::shared_ptr<Shared> shared;
    std::shared_ptr<Pipe> in, out;
    std::shared_ptr<ServerConnection> connection;

  private:
    bool serve() {
        for (;;) {
            ServerConnection::Served served = connection->serve();
            for (CallEvent& event : served.events) tell(std::move(event));
            if (!served.alive || !served.has_more) return served.alive;
        }
    }
    static void tell(CallEvent event) {
        if (!event.call->method().takes_stream()) return tell_method(std::move(event));
        if (!event.call->begin_to_hand_out()) return;
        while (auto next = event.call->next()) tell_method(std::move(*next));
    }
    static void tell_method(CallEvent event) {
        Method& method = event.call->method();
        if (event.kind == CallEvent::Kind::call_end) return method.on_call_end(event.call);
        if (event.call->has_ended()) return event.call->expire();
        if (event.kind == CallEvent::Kind::message) method.on_message(event.call, std::move(event.message));
        if (event.kind == CallEvent::Kind::messages_end) method.on_messages_end(event.call);
    }
};

}  // namespace persia::grpc
