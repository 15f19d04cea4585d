// Places where a server listens.
#pragma once

#include <sys/socket.h>

#include <cerrno>
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

// Takes all who wait at a listener. take: gets a socket, which it closes, and the client's address; false: no more for now.
// evict: makes room when descriptors have run out; false: nobody is idle. False: the listener is to be looked at again later,
// but not as soon as somebody waits there, as somebody does.
template <class Take, class Evict>
bool accept_all(const Listener& listener, Take take, Evict evict) {
    for (;;) {
        sockaddr_storage address{};
        socklen_t size = sizeof(address);
        const int made = accept4(listener.socket, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (made >= 0) {
            if (!take(made, text_of(address, size))) return true;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return (errno != EMFILE && errno != ENFILE) || evict();
        }
    }
}

}  // namespace persia::grpc
