// The bytes of a connection: over a plain socket, or encrypted (grpc/tls.hpp). Nothing blocks.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <span>
#include <string>

namespace persia::grpc {

class Transport {
  public:
    enum class Outcome {
        some,   // so many bytes
        none,   // not now: when the socket can be read, or written where wants_to_write()
        ended,  // the other end has closed
        failed  // see error()
    };
    struct Result {
        Outcome outcome;
        std::size_t bytes = 0;
    };

    virtual ~Transport() = default;

    virtual Result read(std::span<const iovec> into) = 0;
    // What it did not take is to be given again, first: some of it may be encrypted already. Without bytes it only goes on with
    // what it has to send by itself.
    virtual Result write(std::span<const iovec> from) = 0;

    // Whether it waits until the socket can be written, whatever is to be sent: while a connection or a handshake begins.
    virtual bool wants_to_write() const { return false; }
    // Whether the other end is known by now, and may be told something.
    virtual bool is_open() const { return true; }
    // Whether a read that got fewer bytes than it asked for may be followed by one that gets more.
    virtual bool reads_in_pieces() const { return false; }
    // Whether there are bytes to read that the socket does not tell of.
    virtual bool has_buffered() const { return false; }
    virtual void shut_down() noexcept = 0;  // tells the other end, if it can at once

    virtual int socket() const = 0;
    virtual std::string error() const = 0;  // REQUIRES: something has failed

    // Who the other end has proved to be, by its certificate, or as the process of a user at the end of a unix socket; empty:
    // it did not.
    virtual std::string peer_name() const { return {}; }
};

// Takes the socket, which does not block, and closes it. connecting: connect() is under way.
std::unique_ptr<Transport> plain_transport(int socket, bool connecting = false);

}  // namespace persia::grpc
