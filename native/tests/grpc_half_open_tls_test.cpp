// Handshakes that stop half-way hold up nobody, and end.
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "certified.hpp"
#include "grpc/openssl.hpp"
#include "resident.hpp"
#include "routing/replica.hpp"
#include "served.hpp"

using namespace persia::grpc;
using persia::routing::Replica;
using persia::routing::Target;

namespace {

constexpr std::size_t kHandshakes = 1'000;
constexpr double kLong = 30;  // seconds: nothing here takes so long

// What a client begins a handshake with.
std::string client_hello() {
    const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
    const std::string h2("\2h2", 3);
    SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(h2.data()), 3);
    const SslPtr ssl(SSL_new(context.get()));
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), in, out);
    SSL_set_connect_state(ssl.get());
    SSL_do_handshake(ssl.get());
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(out, &bytes);
    return {bytes, static_cast<std::size_t>(size)};
}

bool answers(Replica& replica) {
    const Reply reply = replica.call(kEcho, OutgoingMessage(std::string("hello")), kLong);
    return reply.status.ok() && text_of(reply.message.bytes()) == "hello";
}

struct Secured {
    explicit Secured(const ServerLimits& limits) : server(limits, nullptr, tls) {
        server.add(kEcho, std::make_shared<Echo>());
        address = server.listen("127.0.0.1:0");
        server.start();
        replica = std::make_shared<Replica>(Target{.address = address, .tls = certified::TlsContext::for_client({"", "", ca})});
    }

    certified::Folder folder;
    certified::Authority authority;
    std::string ca = folder.write("ca.pem", authority.made.certificate);
    std::shared_ptr<TlsContext> tls =
        TlsContext::for_server(certified::files_of(folder, "server", authority.server({"127.0.0.1"}), ""));
    Server server;
    std::string address;
    std::shared_ptr<Replica> replica;
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
    limits.handshake = std::chrono::seconds(1);
    Secured secured(limits);
    for (int i = 0; i < 3'000; ++i) CHECK(answers(*secured.replica));  // what these take is not taken by handshakes
    const std::size_t before = resident_bytes();
    std::vector<RawSocket> half = half_shaken(secured.address);
    std::size_t most = before;
    while (secured.server.counts().connections > 1 || secured.server.counts().accepted < kHandshakes + 1) {
        CHECK(answers(*secured.replica));
        most = std::max(most, resident_bytes());
    }
    std::printf("    %zu bytes for each\n", (most - before) / kHandshakes);
    CHECK(most - before < kHandshakes * (256 << 10));
    for (RawSocket& raw : half) {
        while (!raw.gone() && raw.wait()) raw.receive();
        CHECK(raw.gone());
    }
}

TEST(half_open_handshakes_make_room) {
    ServerLimits limits;
    limits.max_connections = 10;
    limits.handshake = std::chrono::hours(1);
    Secured secured(limits);
    const std::vector<RawSocket> half = half_shaken(secured.address);
    CHECK(answers(*secured.replica));
    wait_until([&] { return secured.server.counts().evicted >= kHandshakes - 10; });  // all have been accepted
    CHECK(secured.server.counts().connections <= 10);
}
