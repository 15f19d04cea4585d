#include "grpc/tls_socket.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace persia::grpc {

namespace {

constexpr std::size_t kMaxUnsent = 1 << 20;  // for one who makes the protocol answer, and does not listen
constexpr std::size_t kMaxDrained = 256 << 10;

thread_local std::vector<std::byte> spare;  // that a thread lends to the connection that it works for

TlsSocket& socket_of(BIO* bio) { return *static_cast<TlsSocket*>(BIO_get_data(bio)); }

}  // namespace

TlsSocket::Memory::Memory(TlsSocket& socket) : unsent_(socket.unsent_) {
    if (unsent_.capacity() == 0) unsent_.swap(spare);
}

TlsSocket::Memory::~Memory() {
    if (!unsent_.empty()) return;  // it has to wait for the socket, and keeps the memory as long
    if (unsent_.capacity() > spare.capacity()) unsent_.swap(spare);
    std::vector<std::byte>().swap(unsent_);
}

TlsSocket::~TlsSocket() { ::close(socket_); }

BIO* TlsSocket::new_bio() {
    static BIO_METHOD* const method = [] {
        BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "persia socket");
        BIO_meth_set_read(made, &read);
        BIO_meth_set_write(made, &write);
        BIO_meth_set_ctrl(made, &control);
        return made;
    }();
    BIO* bio = BIO_new(method);
    if (bio == nullptr) throw std::bad_alloc();
    BIO_set_data(bio, this);
    BIO_set_init(bio, 1);
    return bio;
}

int TlsSocket::read(BIO* bio, char* into, int size) noexcept {
    TlsSocket& socket = socket_of(bio);
    BIO_clear_retry_flags(bio);
    while (true) {
        const ssize_t got = ::recv(socket.socket_, into, static_cast<std::size_t>(size), MSG_DONTWAIT);
        socket.may_have_more_ = got == size;
        if (got > 0) return static_cast<int>(got);
        if (got == 0) {
            BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
            return 0;
        }
        if (errno == EINTR) continue;
        if (errno == EAGAIN) {
            BIO_set_retry_read(bio);
        } else {
            socket.error_ = errno;
        }
        return -1;
    }
}

int TlsSocket::write(BIO* bio, const char* from, int size) noexcept {
    TlsSocket& socket = socket_of(bio);
    const auto* bytes = reinterpret_cast<const std::byte*>(from);
    try {
        if (socket.unsent_.size() > kMaxUnsent) throw std::bad_alloc();
        socket.unsent_.insert(socket.unsent_.end(), bytes, bytes + size);
    } catch (const std::bad_alloc&) {
        socket.error_ = ENOBUFS;
        return -1;
    }
    return size;
}

long TlsSocket::control(BIO* bio, int command, long, void*) noexcept {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    return 0;
}

bool TlsSocket::send() {
    while (sent_ < unsent_.size()) {
        const ssize_t sent = ::send(socket_, unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            sent_ += static_cast<std::size_t>(sent);
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) error_ = errno;
        return false;
    }
    unsent_.clear();
    sent_ = 0;
    return true;
}

void TlsSocket::finish() noexcept { ::shutdown(socket_, SHUT_WR); }

void TlsSocket::drain() noexcept {
    char bytes[4096];
    ssize_t got = 0;
    for (std::size_t left = kMaxDrained; left >= sizeof bytes; left -= static_cast<std::size_t>(got)) {
        got = ::recv(socket_, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got <= 0) return;
    }
}

}  // namespace persia::grpc
