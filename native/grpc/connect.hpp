// How a client's connection begins.
#pragma once

#include <memory>
#include <string>

#include "grpc/tls.hpp"
#include "grpc/transport.hpp"

namespace persia::grpc {

// Does not wait: the connection may still fail, and is said to by the transport.
//
// address: `127.0.0.1:5000`, `[::1]:5000` or `unix:/path`; no names. tls: null: plain text, as over unix sockets in any case.
// host: whose certificate is expected. Throws InvalidInput (no such address), IoError (refused at once; out of descriptors).
std::unique_ptr<Transport> connect(const std::string& address, TlsContext* tls, const std::string& host);

// The host of `host:port`, without brackets; `localhost` for a unix socket.
std::string host_of(const std::string& address);

}  // namespace persia::grpc
