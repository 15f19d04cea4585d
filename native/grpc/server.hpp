// A gRPC server: listeners, threads that read calls and answer them, limits, and a graceful end.
//
// All threads wait on one epoll. Whichever reads a call answers it: nothing is handed over. A connection may be read by another
// thread before a call that came over it is answered, so that the calls of one connection do not wait for each other.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "grpc/guard.hpp"
#include "grpc/http2.hpp"
#include "grpc/refused_clients.hpp"
#include "grpc/server_call.hpp"
#include "grpc/tls.hpp"

namespace persia::grpc {

struct ServerLimits {
    std::size_t max_request_bytes = kMaxMessageBytes;
    std::size_t max_answer_bytes = kMaxMessageBytes;
    std::size_t max_memory_bytes = std::size_t{2} << 30;  // of all requests and answers that are under way
    std::size_t max_connections = 16'384;                 // idle ones make room
    std::size_t max_calls = 65'536;                       // of all connections together
    std::size_t workers = 0;                              // calls that are answered at a time; 0: as many as processors
    std::chrono::milliseconds longest_queue{5'000};       // that a call may wait for its turn, whatever its deadline
    std::chrono::seconds handshake{10};                   // until a connection has said what it is
    std::chrono::seconds keepalive{30};  // of silence under a call, until the client is asked whether it is there
    std::chrono::seconds keepalive_patience{10};
    std::chrono::seconds stuck{60};                        // until a client is given up that takes nothing of its answer
    std::chrono::milliseconds least_ping_interval{4'500};  // pings that come more often are counted against a client
    Http2Limits http2;
};

class Server {
  public:
    // guard: who may call; null: everybody. tls: null: plain text.
    Server(const ServerLimits& limits, std::shared_ptr<const Guard> guard, std::shared_ptr<TlsContext> tls);
    ~Server();  // stops at once
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // REQUIRES: not started.
    void add(std::string path, std::shared_ptr<Method> method);
    void set_observer(std::shared_ptr<CallObserver> observer);

    // `host:port` (a name, an address; an empty host, `0.0.0.0` or `[::]`: all), port 0 for any; or `unix:/path`. Several are
    // fine. Returns the address with its port. Throws IoError.
    std::string listen(const std::string& address);

    void start();

    // Takes no new calls and connections; lets those that run finish for so long, and ends the others. Idempotent.
    void stop(std::chrono::milliseconds patience);

    struct Counts {
        std::size_t connections, calls, queued, memory_bytes;                    // now
        std::uint64_t accepted, finished, refused, expired, cancelled, evicted;  // since the start
    };
    Counts counts() const;

    // Who could not be spoken with, as over TLS that it does not trust, since the last call.
    RefusedClients::Told take_refused_clients();

    const std::shared_ptr<MemoryBudget>& budget() const;

  private:
    class Core;
    std::shared_ptr<Core> core_;
};

}  // namespace persia::grpc
