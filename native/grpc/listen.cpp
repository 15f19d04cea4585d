#include "grpc/listen.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/error.hpp"
#include "grpc/port.hpp"

namespace persia::grpc {

namespace {

constexpr int kBacklog = 1024;
constexpr std::string_view kUnix = "unix:";

[[noreturn]] void refuse(const std::string& address, int error) {
    throw IoError(address, error,
                  "expected a free address to listen on, got " + address + ": " + std::system_category().message(error));
}

struct Socket {
    int descriptor;
    explicit Socket(int made) : descriptor(made) {}
    ~Socket() {
        if (descriptor >= 0) close(descriptor);
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    int release() { return std::exchange(descriptor, -1); }
};

// Whether somebody answers there.
bool is_alive(const sockaddr_un& address) {
    const Socket probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return connect(probe.descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

Listener listen_at_path(const std::string& address) {
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    const std::string path = address.substr(kUnix.size());
    if (path.empty() || path.size() >= sizeof(where.sun_path)) {
        throw InvalidInput("expected a path of 1 to " + std::to_string(sizeof(where.sun_path) - 1) + " bytes, got " + address);
    }
    std::memcpy(where.sun_path, path.data(), path.size());
    Socket made(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (made.descriptor < 0) refuse(address, errno);
    const auto* any = reinterpret_cast<const sockaddr*>(&where);
    if (bind(made.descriptor, any, sizeof(where)) != 0) {
        if (errno != EADDRINUSE || is_alive(where)) refuse(address, EADDRINUSE);
        unlink(where.sun_path);
        if (bind(made.descriptor, any, sizeof(where)) != 0) refuse(address, errno);
    }
    if (listen(made.descriptor, kBacklog) != 0) refuse(address, errno);
    return {made.release(), address};
}

}  // namespace

std::string text_of(const sockaddr_storage& address, socklen_t size) {
    if (address.ss_family == AF_UNIX) return std::string(kUnix);
    std::array<char, NI_MAXHOST> host;
    std::array<char, NI_MAXSERV> port;
    if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "unknown";
    }
    const std::string name = host.data();
    return (name.find(':') == std::string::npos ? name : "[" + name + "]") + ":" + port.data();
}

Listener listen_at(const std::string& address) {
    if (address.starts_with(kUnix)) return listen_at_path(address);
    const std::size_t colon = address.rfind(':');
    if (colon == std::string::npos) throw InvalidInput("expected host:port or unix:/path, got " + address);
    std::string host = address.substr(0, colon);
    const std::string shown = host, port = address.substr(colon + 1);
    if (!is_port(port)) throw InvalidInput("expected a port from 0 to 65535 to listen on, got " + address);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    const int outcome = getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
    if (outcome != 0) {
        const int error = outcome == EAI_SYSTEM ? errno : EADDRNOTAVAIL;
        throw IoError(address, error, "expected an address to listen on, got " + address + ": " + gai_strerror(outcome));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found, freeaddrinfo);
    // Of all addresses, that of IPv6 first: it takes calls of IPv4 as well.
    const addrinfo* chosen = found;
    for (const addrinfo* one = found; host.empty() && one != nullptr; one = one->ai_next) {
        if (one->ai_family == AF_INET6) chosen = one;
    }
    Socket made(socket(chosen->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (made.descriptor < 0 && host.empty() && chosen != found) {  // a machine without IPv6
        chosen = found;
        made.descriptor = socket(chosen->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (made.descriptor < 0) refuse(address, errno);
    const int yes = 1, no = 0;
    setsockopt(made.descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (chosen->ai_family == AF_INET6) setsockopt(made.descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
    if (bind(made.descriptor, chosen->ai_addr, chosen->ai_addrlen) != 0 || listen(made.descriptor, kBacklog) != 0) {
        refuse(address, errno);
    }
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    getsockname(made.descriptor, reinterpret_cast<sockaddr*>(&bound), &size);
    const std::string text = text_of(bound, size);
    return {made.release(), shown + text.substr(text.rfind(':'))};
}

}  // namespace persia::grpc
