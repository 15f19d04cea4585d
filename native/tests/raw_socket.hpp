// A plain socket to a server, which says and hears any bytes.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace persia::grpc {

// A socket to a server at 127.0.0.1, that blocks only where it says so.
class RawSocket {
  public:
    // address: as Server::listen() returns it. room: of the socket, for what comes; 0: as usual.
    explicit RawSocket(const std::string& address, int room = 0) {
        socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_ < 0) throw std::runtime_error("no socket");
        if (room != 0) setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        sockaddr_in where{};
        where.sin_family = AF_INET;
        where.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
        where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(socket_, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) != 0) {
            close(socket_);
            throw std::runtime_error("no connection");
        }
        fcntl(socket_, F_SETFL, O_NONBLOCK);
    }
    ~RawSocket() { hang_up(); }
    RawSocket(RawSocket&& other) noexcept : socket_(std::exchange(other.socket_, -1)) {}
    RawSocket& operator=(RawSocket&&) = delete;

    // Sends as much as the socket takes; returns how much. Nothing once the server has gone.
    std::size_t send(std::string_view bytes) {
        const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) gone_ = true;
        return sent > 0 ? static_cast<std::size_t>(sent) : 0;
    }
    // What has come.
    std::string receive(std::size_t at_most = 1 << 16) {
        std::string bytes(at_most, '\0');
        const ssize_t got = recv(socket_, bytes.data(), bytes.size(), 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) gone_ = true;
        bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return bytes;
    }
    // Until it can be read, or what else is asked for. False: that took too long.
    bool wait(int events = POLLIN, int milliseconds = 5000) const {
        pollfd polled{socket_, static_cast<short>(events), 0};
        return poll(&polled, 1, milliseconds) > 0;
    }
    bool gone() const { return gone_; }
    void hang_up() {
        if (socket_ >= 0) close(std::exchange(socket_, -1));
    }
    int socket() const { return socket_; }

  private:
    int socket_ = -1;
    bool gone_ = false;
};

}  // namespace persia::grpc
