#include "grpc/connect.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include "base/error.hpp"
#include "grpc/port.hpp"

namespace persia::grpc {

namespace {

constexpr std::string_view kUnix = "unix:";

struct SocketAddress {
    sockaddr_storage bytes{};
    socklen_t size = 0;
};

[[noreturn]] void refuse(const std::string& address) {
    throw InvalidInput("expected an address such as 127.0.0.1:5000, [::1]:5000 or unix:/path, got '" + address + "'");
}

SocketAddress unix_address(const std::string& address) {
    const std::string_view path = std::string_view(address).substr(kUnix.size());
    sockaddr_un name{};
    if (path.empty() || path.size() >= sizeof(name.sun_path)) refuse(address);
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, path.data(), path.size());
    SocketAddress result;
    std::memcpy(&result.bytes, &name, sizeof(name));
    result.size = sizeof(name);
    return result;
}

SocketAddress ip_address(const std::string& address) {
    const std::size_t colon = address.rfind(':');
    if (colon == std::string::npos || !is_port(std::string_view(address).substr(colon + 1))) refuse(address);
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;  // so nothing is asked over the network
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(host_of(address).c_str(), address.c_str() + colon + 1, &hints, &found) != 0) refuse(address);
    SocketAddress result;
    std::memcpy(&result.bytes, found->ai_addr, found->ai_addrlen);
    result.size = found->ai_addrlen;
    freeaddrinfo(found);
    return result;
}

[[noreturn]] void fail(const std::string& address, int error) {
    throw IoError(address, error, std::system_category().message(error));
}

}  // namespace

std::string host_of(const std::string& address) {
    if (address.starts_with(kUnix)) return "localhost";
    const std::string host = address.substr(0, address.rfind(':'));
    return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
}

std::unique_ptr<Transport> connect(const std::string& address, TlsContext* tls, const std::string& host) {
    const SocketAddress to = address.starts_with(kUnix) ? unix_address(address) : ip_address(address);
    const int socket = ::socket(to.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket < 0) fail(address, errno);
    if (to.bytes.ss_family != AF_UNIX) {
        const int on = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    const bool connected = ::connect(socket, reinterpret_cast<const sockaddr*>(&to.bytes), to.size) == 0;
    if (!connected && errno != EINPROGRESS) {
        const int error = errno;
        close(socket);
        fail(address, error);
    }
    // Servers speak plain text on unix sockets.
    if (tls == nullptr || to.bytes.ss_family == AF_UNIX) return plain_transport(socket, !connected);
    return tls->connect(socket, host);
}

}  // namespace persia::grpc
