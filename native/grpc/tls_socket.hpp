// The socket of a TLS connection: OpenSSL reads from it, and writes into a buffer that is sent in one piece.
#pragma once

#include <cstddef>
#include <vector>

#include "grpc/openssl.hpp"

namespace persia::grpc {

// A record of TLS has at most 16 KiB, and a system call for each would cost more than the ciphers do.
//
// Thread safety: for one thread at a time.
class TlsSocket {
  public:
    // Takes the socket, which does not block, and closes it.
    explicit TlsSocket(int socket) : socket_(socket) {}
    ~TlsSocket();
    TlsSocket(const TlsSocket&) = delete;
    TlsSocket& operator=(const TlsSocket&) = delete;

    int number() const { return socket_; }

    // What OpenSSL reads from and writes to. REQUIRES: this lives as long.
    BIO* new_bio();

    // Sends what was written. False: not all of it; see error().
    bool send();
    bool has_unsent() const { return !unsent_.empty(); }

    // Of the system's, for good; 0: there was none.
    int error() const { return error_; }
    // The last read found as much as it could take.
    bool may_have_more() const { return may_have_more_; }

    // Tells the other end that nothing follows.
    void finish() noexcept;
    // Takes what has come, for nothing: left unread, it would make the system throw away what was sent.
    void drain() noexcept;

    // While it lives, what is written goes into memory of the thread's, so that idle connections have none.
    class Memory;

  private:
    static int read(BIO* bio, char* into, int size) noexcept;
    static int write(BIO* bio, const char* from, int size) noexcept;
    static long control(BIO* bio, int command, long number, void* argument) noexcept;

    const int socket_;
    int error_ = 0;
    bool may_have_more_ = false;
    std::vector<std::byte> unsent_;  // from
    std::size_t sent_ = 0;           // on
};

class TlsSocket::Memory {
  public:
    explicit Memory(TlsSocket& socket);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

  private:
    std::vector<std::byte>& unsent_;
};

}  // namespace persia::grpc
