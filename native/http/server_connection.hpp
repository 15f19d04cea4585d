// One client of an HTTP/1.1 server. Its requests are answered one after the other, in their order.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "grpc/memory_budget.hpp"
#include "grpc/refused_clients.hpp"
#include "grpc/transport.hpp"
#include "http/body_reader.hpp"
#include "http/exchange.hpp"
#include "net/reactor.hpp"

namespace persia::http {

struct ServerLimits {
    std::size_t max_body_bytes = 6'553'500;
    std::size_t max_memory_bytes = std::size_t{1} << 30;  // of all requests that are under way
    std::size_t max_connections = 16'384;                 // idle ones make room
    std::size_t max_unsent_bytes = 256 << 20;             // of one client, which is given up beyond
    std::chrono::milliseconds head{10'000};  // until a head is there: since its first byte, and of the first one from the begin
    std::chrono::milliseconds idle{75'000};  // between two requests
    std::chrono::milliseconds stuck{60'000};  // in which nothing of a body comes, or of an answer is taken
};

// What the connections of a server share.
struct ServerShared {
    ServerLimits limits;
    net::Reactor& reactor;
    Service& service;
    std::shared_ptr<grpc::MemoryBudget> budget;
    std::function<void(net::Reactor::Key)> remove;  // the connection is of no more use
    grpc::RefusedClients refused_clients;
};

// Thread safety: any thread may call all of it.
class ServerConnection final : public net::Watched, public std::enable_shared_from_this<ServerConnection> {
  public:
    ServerConnection(std::shared_ptr<ServerShared> shared, std::unique_ptr<grpc::Transport> transport, std::string peer);

    int socket() const override { return transport_->socket(); }
    net::Reactor::Key id() const { return key_; }
    void set_id(net::Reactor::Key key) { key_ = key; }  // by which it is watched. REQUIRES: before begin()
    void begin();

    // Since when it waits for a request; nullopt: it has one.
    std::optional<Clock::time_point> idleness() const;
    // False: it has been silent for too long.
    bool look_after(Clock::time_point now) const;
    // No more requests after the one that it has.
    void drain();
    void kill() noexcept;

  private:
    class Answer;

    void on_ready(std::uint32_t events) override;
    void serve(std::uint32_t events);
    bool read_some(std::uint32_t events);
    ExchangePtr take_in();
    void begin_request();
    ExchangePtr finish_request();
    void refuse(const Refusal& refusal);
    void send_away(Response response);
    enum class Length { known, in_chunks, until_the_end };
    void put_head(Response& response, Length length);
    void put(grpc::OutgoingMessage message);
    void finish_answer();
    bool flush();
    void remove();

    const std::shared_ptr<ServerShared> shared_;
    const std::unique_ptr<grpc::Transport> transport_;
    const std::string peer_;

    net::Reactor::Key key_ = 0;
    mutable std::mutex mutex_;  // over what follows
    std::string input_;         // that no request has taken yet
    RequestHead head_;
    std::string identity_;            // of who sent it
    std::optional<BodyReader> body_;  // that is coming
    std::shared_ptr<Answer> answer_;  // of the request that it has
    bool greeted_ = false;            // something of a request has come
    bool keep_alive_ = true, gone_ = false, draining_ = false, closing_ = false;
    bool serving_ = false;              // a thread is at it
    std::uint32_t pending_events_ = 0;  // that it has not seen yet
    std::deque<grpc::OutgoingMessage::Piece> unsent_;
    std::size_t unsent_from_ = 0, unsent_bytes_ = 0;
    Clock::time_point since_;  // it last read, wrote, or became idle
    Clock::time_point request_since_;
};

// As others see the request that a connection has.
class ServerConnection::Answer final : public Exchange {
  public:
    Answer(std::weak_ptr<ServerConnection> connection, Request request)
        : connection_(std::move(connection)), request_(std::move(request)) {}

    const Request& request() const override { return request_; }
    bool has_ended() const override { return ended_.load(std::memory_order_relaxed); }
    void respond(Response response) override;
    void begin(Response head) override;
    void send(grpc::OutgoingMessage part) override;
    void end() override;

  private:
    friend class ServerConnection;

    template <class Put>
    void with_connection(bool ends, Put put);
    bool sends_body(const Response& response) const;

    const std::weak_ptr<ServerConnection> connection_;
    const Request request_;
    std::atomic<bool> ended_{false};
    bool parts_have_place_ = true;  // of an answer in parts. With the connection's lock
};

}  // namespace persia::http
