// A connection over TLS.
#pragma once

#include <cstdint>
#include <string>

#include "grpc/openssl.hpp"
#include "grpc/tls_errors.hpp"
#include "grpc/tls_socket.hpp"
#include "grpc/transport.hpp"

namespace persia::grpc {

// Thread safety: for one thread at a time.
class TlsTransport final : public Transport {
  public:
    // Takes the socket, which does not block; ssl: ready to accept, or to connect.
    TlsTransport(SslPtr ssl, int socket, TlsDemands demands);
    ~TlsTransport() override = default;
    TlsTransport(const TlsTransport&) = delete;
    TlsTransport& operator=(const TlsTransport&) = delete;

    Result read(std::span<const iovec> into) override;
    Result write(std::span<const iovec> from) override;
    bool wants_to_write() const override { return socket_.has_unsent(); }
    bool is_open() const override { return stage_ == Stage::open; }
    bool has_buffered() const override;
    void shut_down() noexcept override;
    int socket() const override { return socket_.number(); }
    std::string error() const override { return error_; }
    std::string peer_name() const override;

  private:
    enum class Stage { handshake, open, ended, failed };

    struct SmallPieces;  // that become one record

    static int on_verified(int is_fine, X509_STORE_CTX* verification);

    // Whether the connection is open by now.
    bool proceed();
    void finish_handshake();

    // Encrypts some of what comes after the first `skip` bytes. False: it has failed.
    bool seal(std::span<const iovec> from, std::size_t skip);
    bool seal(SmallPieces& small, const std::byte* bytes, std::size_t size);
    bool seal_record(const std::byte* bytes, std::size_t size);
    // Sends what is encrypted. False: not all of it, for now or for good.
    bool send();

    // After a call of OpenSSL's that gave nothing.
    Outcome explain(int returned);
    // Tells the other end, by the alert that OpenSSL has written.
    void fail(std::string why);
    Result stopped() const;

    TlsSocket socket_;
    SslPtr ssl_;
    const TlsDemands demands_;
    Stage stage_ = Stage::handshake;
    std::string error_;
    std::string certificate_problem_;
    std::size_t sealed_bytes_ = 0;  // of what was given to write(), which are encrypted, but not yet said to be taken
    bool is_drained_ = false;       // nothing more can be read until the socket tells of it
    std::string peer_name_;
    std::int64_t peer_until_ = 0;  // when the other end's certificate ends
};

}  // namespace persia::grpc
