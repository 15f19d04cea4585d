// Places where a server listens.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

namespace persia::grpc {

struct Listener {
    int socket;           // which does not block
    std::string address;  // with its port

    bool is_unix() const { return address.starts_with("unix:"); }
};

// `host:port`: a name, an address (IPv6 in brackets), or nothing for all of both families; port 0 for any. `unix:/path`: made,
// and a socket that a dead server left there is removed. Throws IoError if it is taken or none of this machine, InvalidInput.
Listener listen_at(const std::string& address);

// `127.0.0.1:5000`, `[::1]:5000`, `unix:`.
std::string text_of(const sockaddr_storage& address, socklen_t size);

}  // namespace persia::grpc
