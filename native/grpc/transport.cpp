#include "grpc/transport.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <system_error>

namespace persia::grpc {

namespace {

class PlainTransport final : public Transport {
  public:
    PlainTransport(int socket, bool connecting) : socket_(socket), connecting_(connecting) {}
    ~PlainTransport() override { close(socket_); }

    Result read(std::span<const iovec> into) override {
        if (connecting_ && !finish_connecting()) return {error_ == 0 ? Outcome::none : Outcome::failed};
        for (;;) {
            const ssize_t got = readv(socket_, into.data(), static_cast<int>(into.size()));
            if (got > 0) return {Outcome::some, static_cast<std::size_t>(got)};
            if (got == 0) return {Outcome::ended};
            if (errno == EINTR) continue;
            if (errno == EAGAIN) return {Outcome::none};
            error_ = errno;
            return {Outcome::failed};
        }
    }

    Result write(std::span<const iovec> from) override {
        if (connecting_ && !finish_connecting()) return {error_ == 0 ? Outcome::none : Outcome::failed};
        msghdr message{};
        message.msg_iov = const_cast<iovec*>(from.data());
        message.msg_iovlen = from.size();
        for (;;) {
            const ssize_t sent = sendmsg(socket_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent >= 0) return {Outcome::some, static_cast<std::size_t>(sent)};
            if (errno == EINTR) continue;
            if (errno == EAGAIN) return {Outcome::none};
            error_ = errno;
            return {Outcome::failed};
        }
    }

    bool wants_to_write() const override { return connecting_; }
    bool is_open() const override { return !connecting_; }
    void shut_down() noexcept override { ::shutdown(socket_, SHUT_WR); }
    int socket() const override { return socket_; }
    std::string error() const override { return std::system_category().message(error_); }

    // Over a unix socket the system knows whose process it is, which proves as much as a certificate.
    std::string peer_name() const override {
        if (!peer_name_) {
            ucred peer{};
            socklen_t size = sizeof(peer);
            const bool known =
                getsockopt(socket_, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid != static_cast<uid_t>(-1);
            peer_name_ = known ? "user " + std::to_string(peer.uid) : std::string();
        }
        return *peer_name_;
    }

  private:
    // Whether the socket is connected. It may have failed instead.
    bool finish_connecting() {
        pollfd polled{socket_, POLLOUT, 0};
        if (poll(&polled, 1, 0) <= 0 || polled.revents == 0) return false;
        socklen_t size = sizeof(error_);
        if (getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error_, &size) != 0) error_ = errno;
        if (error_ != 0) return false;
        connecting_ = false;
        return true;
    }

    const int socket_;
    bool connecting_;
    int error_ = 0;
    mutable std::optional<std::string> peer_name_;  // once it was asked for
};

}  // namespace

std::unique_ptr<Transport> plain_transport(int socket, bool connecting) {
    return std::make_unique<PlainTransport>(socket, connecting);
}

}  // namespace persia::grpc
