#include "grpc/tls_transport.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <limits>
#include <system_error>

#include "grpc/pem.hpp"

namespace persia::grpc {

namespace {

constexpr std::size_t kRecord = 16 << 10;   // the most that a record has
constexpr std::size_t kSealed = 128 << 10;  // that are encrypted before they are sent

std::size_t total_of(std::span<const iovec> pieces) {
    std::size_t total = 0;
    for (const iovec& piece : pieces) total += piece.iov_len;
    return total;
}

}  // namespace

struct TlsTransport::SmallPieces {
    std::array<std::byte, kRecord> bytes;
    std::size_t size = 0;
};

TlsTransport::TlsTransport(SslPtr ssl, int socket, TlsDemands demands)
    : socket_(socket), ssl_(std::move(ssl)), demands_(std::move(demands)) {
    BIO* bio = socket_.new_bio();
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_app_data(ssl_.get(), this);
    SSL_set_verify(ssl_.get(), SSL_get_verify_mode(ssl_.get()), &on_verified);
    if (!demands_.is_server) {  // its first words, which are sent when the socket is connected
        ERR_clear_error();
        if (const int returned = SSL_do_handshake(ssl_.get()); returned != 1) explain(returned);
    }
}

bool TlsTransport::has_buffered() const { return stage_ == Stage::open && !is_drained_ && SSL_has_pending(ssl_.get()) == 1; }

std::string TlsTransport::peer_name() const {
    // A connection outlives the certificate that it was opened with; who calls does not.
    return stage_ == Stage::open && std::time(nullptr) <= peer_until_ ? peer_name_ : std::string();
}

Transport::Result TlsTransport::read(std::span<const iovec> into) {
    const TlsSocket::Memory memory(socket_);
    if (!proceed()) return stopped();
    std::size_t done = 0;
    is_drained_ = false;
    for (const iovec& piece : into) {
        for (std::size_t filled = 0; filled < piece.iov_len;) {
            if (done > 0 && !socket_.may_have_more() && SSL_has_pending(ssl_.get()) == 0) return {Outcome::some, done};
            std::size_t got = 0;
            ERR_clear_error();
            const int returned =
                SSL_read_ex(ssl_.get(), static_cast<std::byte*>(piece.iov_base) + filled, piece.iov_len - filled, &got);
            if (returned != 1) {
                const Outcome outcome = explain(returned);
                is_drained_ = outcome == Outcome::none;
                if (stage_ != Stage::failed) send();  // what the protocol has to answer
                return done > 0 ? Result{Outcome::some, done} : Result{outcome};
            }
            filled += got;
            done += got;
        }
    }
    return {Outcome::some, done};
}

Transport::Result TlsTransport::write(std::span<const iovec> from) {
    const TlsSocket::Memory memory(socket_);
    if (!proceed()) return stopped();
    const std::size_t total = total_of(from);
    std::size_t done = 0;
    do {
        if (sealed_bytes_ == 0 && !seal(from, done)) return stopped();
        if (done + sealed_bytes_ > total) {
            fail("what TLS has encrypted was not given again to be written");
            return stopped();
        }
        if (!send()) return done > 0 ? Result{Outcome::some, done} : stopped();
        done += sealed_bytes_;
        sealed_bytes_ = 0;
    } while (done < total);
    return {Outcome::some, done};
}

bool TlsTransport::proceed() {
    if (stage_ != Stage::handshake) return stage_ == Stage::open;
    if (!send()) return false;
    ERR_clear_error();
    const int returned = SSL_do_handshake(ssl_.get());
    if (returned == 1) {
        finish_handshake();
    } else {
        explain(returned);
    }
    if (stage_ != Stage::failed) send();
    return stage_ == Stage::open;
}

void TlsTransport::finish_handshake() {
    const unsigned char* protocol = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_.get(), &protocol, &length);
    if (demands_.http2 && (length != 2 || std::memcmp(protocol, "h2", 2) != 0)) {
        SSL_shutdown(ssl_.get());
        return fail(no_protocol_problem(demands_));
    }
    stage_ = Stage::open;
    const CertificatePtr certificate(SSL_get1_peer_certificate(ssl_.get()));
    if (certificate == nullptr) return;
    peer_name_ = name_of(certificate.get());
    if (peer_name_.empty()) peer_name_ = "a certificate without a name";
    peer_until_ = std::numeric_limits<std::int64_t>::max();
    const STACK_OF(X509)* chain = SSL_get0_verified_chain(ssl_.get());
    for (int i = 0; i < sk_X509_num(chain); ++i) {
        peer_until_ = std::min(peer_until_, seconds_of(X509_get0_notAfter(sk_X509_value(chain, i))));
    }
}

bool TlsTransport::seal(std::span<const iovec> from, std::size_t skip) {
    SmallPieces small;
    std::size_t room = kSealed;
    for (const iovec& piece : from) {
        const std::size_t skipped = std::min(skip, piece.iov_len);
        const std::size_t size = std::min(piece.iov_len - skipped, room);
        skip -= skipped;
        room -= size;
        if (!seal(small, static_cast<const std::byte*>(piece.iov_base) + skipped, size)) return false;
    }
    sealed_bytes_ = kSealed - room;
    return seal_record(small.bytes.data(), small.size);
}

bool TlsTransport::seal(SmallPieces& small, const std::byte* bytes, std::size_t size) {
    while (size > 0) {
        std::size_t taken = 0;
        if (small.size == 0 && size >= kRecord) {  // whole records are encrypted where they lie
            taken = size - size % kRecord;
            if (!seal_record(bytes, taken)) return false;
        } else {
            taken = std::min(size, kRecord - small.size);
            std::memcpy(small.bytes.data() + small.size, bytes, taken);
            small.size += taken;
            if (small.size == kRecord) {
                if (!seal_record(small.bytes.data(), kRecord)) return false;
                small.size = 0;
            }
        }
        bytes += taken;
        size -= taken;
    }
    return true;
}

bool TlsTransport::seal_record(const std::byte* bytes, std::size_t size) {
    if (size == 0) return true;
    std::size_t written = 0;
    ERR_clear_error();
    const int returned = SSL_write_ex(ssl_.get(), bytes, size, &written);
    if (returned == 1) return true;
    if (explain(returned) == Outcome::none) fail("the TLS connection cannot be written to");
    return false;
}

bool TlsTransport::send() {
    if (socket_.send()) return true;
    if (socket_.error() == 0 || stage_ == Stage::failed) return false;
    // The other end may have said why, before it closed.
    const std::string closed = std::system_category().message(socket_.error());
    char ignored = 0;
    ERR_clear_error();
    const int returned = stage_ == Stage::open ? SSL_read(ssl_.get(), &ignored, 1) : SSL_do_handshake(ssl_.get());
    if (returned != 1 && SSL_get_error(ssl_.get(), returned) == SSL_ERROR_SSL) {
        explain(returned);
    } else {
        fail(closed);
    }
    return false;
}

Transport::Outcome TlsTransport::explain(int returned) {
    switch (SSL_get_error(ssl_.get(), returned)) {
        case SSL_ERROR_WANT_READ:
            return Outcome::none;
        case SSL_ERROR_ZERO_RETURN:
            if (stage_ == Stage::open) {
                stage_ = Stage::ended;
                return Outcome::ended;
            }
            fail(std::string(demands_.is_server ? "the client" : "the server") +
                 " has closed the connection before it was open");
            return Outcome::failed;
        case SSL_ERROR_SYSCALL:
            fail(socket_.error() != 0 ? std::system_category().message(socket_.error()) : "the connection was cut off");
            return Outcome::failed;
        default:
            fail(certificate_problem_.empty() ? tls_problem(demands_) : certificate_problem_);
            return Outcome::failed;
    }
}

void TlsTransport::fail(std::string why) {
    stage_ = Stage::failed;
    error_ = std::move(why);
    ERR_clear_error();
    socket_.send();
    socket_.finish();
    socket_.drain();
}

void TlsTransport::shut_down() noexcept {
    if (stage_ == Stage::open) {
        ERR_clear_error();
        SSL_shutdown(ssl_.get());
        ERR_clear_error();
        socket_.send();
    }
    socket_.finish();
}

Transport::Result TlsTransport::stopped() const {
    return {stage_ == Stage::failed ? Outcome::failed : stage_ == Stage::ended ? Outcome::ended : Outcome::none};
}

int TlsTransport::on_verified(int is_fine, X509_STORE_CTX* verification) {
    const auto* ssl = static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
    auto& transport = *static_cast<TlsTransport*>(SSL_get_app_data(ssl));
    if (is_fine == 0) transport.certificate_problem_ = certificate_problem(verification, transport.demands_);
    return is_fine;
}

}  // namespace persia::grpc
