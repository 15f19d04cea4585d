// Peers that speak TLS as ours never would: too old, without ALPN, with an expired certificate, or none at all.
#include <openssl/pem.h>

#include <string>

#include "certified.hpp"
#include "grpc/openssl.hpp"

using namespace certified;
using persia::grpc::SslContextPtr;
using persia::grpc::SslPtr;
using Outcome = Transport::Outcome;

namespace {

// An end that OpenSSL drives by itself, without any rule of ours.
class Stranger {
  public:
    Stranger(int socket, bool is_server) : context_(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method())) {
        SSL_CTX_set_security_level(context_.get(), 0);
        SSL_CTX_set_verify(context_.get(), SSL_VERIFY_NONE, nullptr);
        socket_ = socket;
    }
    ~Stranger() { ::close(socket_); }
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;

    SSL_CTX* context() { return context_.get(); }

    void offer(const std::string& protocol) {
        std::string list(1, static_cast<char>(protocol.size()));
        list += protocol;
        SSL_CTX_set_alpn_protos(context(), reinterpret_cast<const unsigned char*>(list.data()),
                                static_cast<unsigned>(list.size()));
    }

    void show(const Certified& certified) {
        const auto pem = persia::grpc::bio_of(certified.certificate), key = persia::grpc::bio_of(certified.key);
        const persia::grpc::CertificatePtr certificate(PEM_read_bio_X509(pem.get(), nullptr, nullptr, nullptr));
        const persia::grpc::KeyPtr private_key(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
        CHECK(SSL_CTX_use_certificate(context(), certificate.get()) == 1);
        CHECK(SSL_CTX_use_PrivateKey(context(), private_key.get()) == 1);
    }

    void begin(bool is_server) {
        ssl_.reset(SSL_new(context()));
        SSL_set_fd(ssl_.get(), socket_);
        if (is_server) {
            SSL_set_accept_state(ssl_.get());
        } else {
            SSL_set_connect_state(ssl_.get());
        }
    }

    SSL* ssl() { return ssl_.get(); }

    bool shake_hands(Transport& other) {
        for (int i = 0; i < 20; ++i) {
            SSL_do_handshake(ssl_.get());
            go_on(other);
        }
        ERR_clear_error();
        return SSL_is_init_finished(ssl_.get()) == 1;
    }

  private:
    SslContextPtr context_;
    SslPtr ssl_;
    int socket_;
};

struct Served {
    Folder folder;
    Authority authority;
    std::string ca = folder.write("ca.pem", authority.made.certificate);
    std::shared_ptr<TlsContext> open = TlsContext::for_server(files_of(folder, "open", authority.server({"localhost"}), ""));
    std::shared_ptr<TlsContext> mutual =
        TlsContext::for_server(files_of(folder, "mutual", authority.server({"localhost"}), ca));
    std::shared_ptr<TlsContext> client = TlsContext::for_client({"", "", ca});
};

}  // namespace

TEST(tls_1_1_is_refused) {
    Served served;
    const auto [ours, theirs] = sockets();
    const auto server = served.open->accept(ours);
    Stranger old(theirs, false);
    SSL_CTX_set_min_proto_version(old.context(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(old.context(), TLS1_1_VERSION);
    old.offer("h2");
    old.begin(false);
    CHECK(!old.shake_hands(*server));
    CHECK(!server->is_open());
    CHECK(has(server->error(), "the client does not speak TLS 1.2 or newer"));
}

TEST(a_server_of_tls_1_1_is_refused) {
    Served served;
    const auto [ours, theirs] = sockets();
    Stranger old(ours, true);
    SSL_CTX_set_min_proto_version(old.context(), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(old.context(), TLS1_1_VERSION);
    old.show(served.authority.server({"localhost"}));
    old.begin(true);
    const auto client = served.client->connect(theirs, "localhost");
    CHECK(!old.shake_hands(*client));
    CHECK(has(client->error(), "the server refuses the connection: it does not speak TLS 1.2 or newer"));
}

TEST(tls_1_2_is_spoken_with_ciphers_of_http2_alone) {
    Served served;
    for (const char* ciphers : {"ECDHE+AESGCM", "ECDHE+AES128:!AESGCM:!AESCCM"}) {
        const auto [ours, theirs] = sockets();
        const auto server = served.open->accept(ours);
        Stranger client(theirs, false);
        SSL_CTX_set_max_proto_version(client.context(), TLS1_2_VERSION);
        CHECK(SSL_CTX_set_cipher_list(client.context(), ciphers) == 1);
        client.offer("h2");
        client.begin(false);
        const bool allowed = std::string(ciphers) == "ECDHE+AESGCM";
        CHECK(client.shake_hands(*server) == allowed);
        CHECK(server->is_open() == allowed);
        if (!allowed) CHECK(has(server->error(), "the client offers no cipher that HTTP/2 allows"));
    }
}

TEST(a_client_of_tls_1_2_cannot_negotiate_again) {
    Served served;
    const auto [ours, theirs] = sockets();
    const auto server = served.open->accept(ours);
    Stranger client(theirs, false);
    SSL_CTX_set_max_proto_version(client.context(), TLS1_2_VERSION);
    client.offer("h2");
    client.begin(false);
    CHECK(client.shake_hands(*server));
    CHECK(SSL_renegotiate(client.ssl()) == 1);
    for (int i = 0; i < 5; ++i) {
        SSL_do_handshake(client.ssl());
        read_text(*server);
    }
    CHECK(SSL_num_renegotiations(client.ssl()) == 0 || SSL_renegotiate_pending(client.ssl()) != 0 ||
          ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
}

TEST(clients_without_http2_are_refused) {
    Served served;
    for (const char* protocol : {"", "http/1.1", "h2c"}) {
        const auto [ours, theirs] = sockets();
        const auto server = served.open->accept(ours);
        Stranger client(theirs, false);
        if (*protocol != '\0') client.offer(protocol);
        client.begin(false);
        client.shake_hands(*server);
        CHECK(!server->is_open() && go_on(*server) == Outcome::failed);
        CHECK(has(server->error(), "the client does not speak HTTP/2 (ALPN h2)"));
    }
}

TEST(a_server_without_http2_is_refused) {
    Served served;
    const auto [ours, theirs] = sockets();
    Stranger server(ours, true);
    server.show(served.authority.server({"localhost"}));
    server.begin(true);
    const auto client = served.client->connect(theirs, "localhost");
    server.shake_hands(*client);
    CHECK(!client->is_open() && go_on(*client) == Outcome::failed);
    CHECK(has(client->error(), "the server does not speak HTTP/2 (ALPN h2)"));
}

TEST(an_expired_client_is_refused) {
    Served served;
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        const auto [ours, theirs] = sockets();
        const auto server = served.mutual->accept(ours);
        Stranger client(theirs, false);
        SSL_CTX_set_max_proto_version(client.context(), version);
        client.offer("h2");
        client.show(served.authority.client("old trainer", hours(-40, -20)));
        client.begin(false);
        client.shake_hands(*server);
        CHECK(!server->is_open());
        CHECK(has(server->error(), "the client's certificate (`old trainer`) has expired on 2"));
    }
}

TEST(an_expired_server_is_refused) {
    Served served;
    const auto [ours, theirs] = sockets();
    Stranger server(ours, true);
    server.show(served.authority.server({"localhost"}, hours(-40, -20)));
    server.begin(true);
    const auto client = served.client->connect(theirs, "localhost");
    server.shake_hands(*client);
    CHECK(has(client->error(), "the server's certificate (`localhost`) has expired on 2"));
}

TEST(an_expired_authority_signs_nothing) {
    Served served;
    const Certified old = persia::grpc::make_authority("old CA", hours(-50, -1));
    const std::string ca = served.folder.write("old-ca.pem", old.certificate);
    const Certified signed_by_it = persia::grpc::make_certificate(old, "localhost", {"localhost"}, Usage::server, kToday);
    const auto server = TlsContext::for_server(files_of(served.folder, "by-old", signed_by_it, ""));
    Ends ends = connected(*server, *TlsContext::for_client({"", "", ca}));
    CHECK(has(ends.client->error(), "(`localhost`) is signed by `old CA`, whose certificate has expired on 2"));
}

TEST(who_does_not_speak_tls_is_told_apart) {
    Served served;
    for (const char* words :
         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x80\x80 nonsense and more of it"}) {
        const auto [ours, theirs] = sockets();
        const auto server = served.open->accept(ours);
        CHECK(::send(theirs, words, std::string(words).size(), 0) > 0);
        CHECK(go_on(*server) == Outcome::failed);
        CHECK(has(server->error(), "the client does not speak TLS, which is asked for here"));
        ::close(theirs);
    }
    const auto [ours, theirs] = sockets();
    const auto client = served.client->connect(theirs, "localhost");
    const char settings[] = "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64";
    CHECK(::send(ours, settings, sizeof settings - 1, 0) > 0);
    go_on(*client);
    CHECK(go_on(*client) == Outcome::failed);
    CHECK(has(client->error(), "the server does not speak TLS, which is asked for here"));
    ::close(ours);
}
