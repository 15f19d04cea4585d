// Handshakes of TLS that stop half-way, before a server of HTTP/1.1: they hold up nobody, and end.
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <string>
#include <thread>
#include <vector>

#include "certified.hpp"
#include "grpc/openssl.hpp"
#include "http_served.hpp"
#include "raw_socket.hpp"

using namespace http_served;
using persia::grpc::RawSocket;
using persia::grpc::SslContextPtr;
using persia::grpc::SslPtr;
using persia::grpc::TlsProtocol;

namespace {

constexpr std::size_t kHandshakes = 300;

// What a client begins a handshake with.
std::string client_hello() {
    const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
    const SslPtr ssl(SSL_new(context.get()));
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), in, out);
    SSL_set_connect_state(ssl.get());
    SSL_do_handshake(ssl.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out, &bytes);
    return {bytes, static_cast<std::size_t>(size)};
}

struct Secured {
    explicit Secured(const ServerLimits& limits) : server(limits, reactor, echo, tls) {
        reactor.start(2);
        address = server.listen("127.0.0.1:0");
    }
    ~Secured() {
        server.stop(0ms);
        reactor.stop();
    }

    // Asks over TLS, and blocks meanwhile.
    std::string ask(const std::string& request) const {
        const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
        RawSocket raw(address);
        const SslPtr ssl(SSL_new(context.get()));
        fcntl(raw.socket(), F_SETFL, 0);
        SSL_set_fd(ssl.get(), raw.socket());
        std::string heard;
        if (SSL_connect(ssl.get()) != 1) return heard;
        SSL_write(ssl.get(), request.data(), static_cast<int>(request.size()));
        char buffer[1024];
        for (int got = 0; (got = SSL_read(ssl.get(), buffer, sizeof(buffer))) > 0;)
            heard.append(buffer, static_cast<std::size_t>(got));
        return heard;
    }

    certified::Folder folder;
    certified::Authority authority;
    std::shared_ptr<certified::TlsContext> tls = certified::TlsContext::for_server(
        certified::files_of(folder, "server", authority.server({"127.0.0.1"}), ""), TlsProtocol::http1);
    persia::net::Reactor reactor;
    const std::shared_ptr<Echo> echo = std::make_shared<Echo>();
    Server server;
    std::string address;
};

// A third says nothing, a third the half of its greeting, a third all of it, and then nothing.
std::vector<RawSocket> half_shaken(const std::string& address) {
    const std::string hello = client_hello();
    CHECK(hello.size() > 100);
    std::vector<RawSocket> all;
    for (std::size_t i = 0; i < kHandshakes; ++i) {
        all.emplace_back(address);
        all.back().send(hello.substr(0, i % 3 * hello.size() / 2));
    }
    return all;
}

}  // namespace

TEST(half_open_handshakes_go_and_hold_up_nobody) {
    ServerLimits limits;
    limits.head = 1s;
    Secured secured(limits);
    std::vector<RawSocket> half = half_shaken(secured.address);
    CHECK(has(secured.ask(get("/a", "Connection: close\r\n")), "/a:"));
    for (RawSocket& raw : half) {
        while (!raw.gone() && raw.wait()) raw.receive();
        CHECK(raw.gone());
    }
    CHECK(has(secured.ask(get("/b", "Connection: close\r\n")), "/b:"));
}

TEST(half_open_handshakes_make_room) {
    ServerLimits limits;
    limits.max_connections = 10;
    limits.head = std::chrono::hours(1);
    Secured secured(limits);
    const std::vector<RawSocket> half = half_shaken(secured.address);
    CHECK(has(secured.ask(get("/a", "Connection: close\r\n")), "/a:"));
    CHECK(secured.server.connections() <= 10);
}
