// An HTTP/1.1 server: listeners, and the connections that come over them.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "grpc/refused_clients.hpp"
#include "grpc/tls.hpp"
#include "http/server_connection.hpp"

namespace persia::http {

class Server {
  public:
    // tls: null: plain text.
    Server(const ServerLimits& limits, net::Reactor& reactor, std::shared_ptr<Service> service,
           std::shared_ptr<grpc::TlsContext> tls);
    ~Server();  // stops at once
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    // `host:port`, port 0 for any, or `unix:/path`. Returns the address with its port. Throws IoError.
    std::string listen(const std::string& address);

    // Takes no new connections and requests, lets those that there are finish for so long, and ends the others. Idempotent.
    void stop(std::chrono::milliseconds patience);

    std::size_t connections() const;
    // Those with which no TLS could be agreed on, since it was called before.
    grpc::RefusedClients::Told take_refused_clients();

  private:
    class Core;
    std::shared_ptr<Core> core_;
};

}  // namespace persia::http
