#include "grpc/tls.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "grpc/keystore.hpp"
#include "grpc/openssl.hpp"
#include "grpc/pem.hpp"
#include "grpc/tls_transport.hpp"
#include "grpc/watched_file.hpp"

namespace persia::grpc {

namespace {

// HTTP/2 forbids the others of TLS 1.2. Those of 1.3 are fine as they are.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr unsigned char kHttp2[] = {2, 'h', '2'};
constexpr std::string_view kNames[] = {"h2", "http/1.1"};  // of the protocols, by ALPN
constexpr std::size_t kReadBuffer = 64 << 10;

void require(bool done, const char* what) {
    if (!done) throw InvalidInput(std::string("OpenSSL cannot ") + what + ": " + openssl_error());
}

// name: a std::string_view.
int choose(SSL*, const unsigned char** chosen, unsigned char* length, const unsigned char* offered, unsigned size, void* name) {
    const auto& wanted = *static_cast<const std::string_view*>(name);
    for (unsigned at = 0; at < size; at += offered[at] + 1U) {
        if (offered[at] == wanted.size() && at + wanted.size() < size &&
            std::memcmp(offered + at + 1, wanted.data(), wanted.size()) == 0) {
            *chosen = offered + at + 1;
            *length = offered[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

SslContextPtr blank_context(bool is_server, TlsProtocol protocol) {
    SslContextPtr context(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method()));
    require(context != nullptr && SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) == 1 &&
                SSL_CTX_set_cipher_list(context.get(), kCiphers) == 1,
            "set up TLS");
    // Connections live long, so nothing is gained from sessions that are taken up again; and who takes one up shows no
    // certificate, which may have expired since.
    SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                           SSL_OP_IGNORE_UNEXPECTED_EOF);  // gRPC itself says where a call ends
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context.get(), 0);
    SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context.get(), 1);
    SSL_CTX_set_default_read_buffer_len(context.get(), kReadBuffer);
    if (is_server) {
        const auto& name = kNames[static_cast<std::size_t>(protocol)];
        SSL_CTX_set_alpn_select_cb(context.get(), choose, const_cast<std::string_view*>(&name));
    } else {
        require(SSL_CTX_set_alpn_protos(context.get(), kHttp2, sizeof kHttp2) == 0, "set up ALPN");
    }
    return context;
}

KeyedChain read_pair(WatchedFile& certificate_file, WatchedFile& key_file) {
    KeyedChain pair;
    pair.chain = certificates_of(certificate_file.read(), certificate_file.path());
    std::string pem = key_file.read();
    pair.key = key_of(pem, key_file.path());
    OPENSSL_cleanse(pem.data(), pem.size());
    if (X509_check_private_key(pair.chain.front().get(), pair.key.get()) != 1) {
        ERR_clear_error();
        throw InvalidInput(key_file.path() + ": expected the key of the certificate in " + certificate_file.path() +
                           ", got another one's");
    }
    return pair;
}

KeyedChain read_keystore(WatchedFile& file, const std::string& password) {
    std::string bytes = file.read();
    KeyedChain pair = keystore_content(bytes, file.path(), password);
    OPENSSL_cleanse(bytes.data(), bytes.size());
    return pair;
}

void use(SSL_CTX* context, const KeyedChain& pair, const std::string& path) {
    const auto& chain = pair.chain;
    if (const std::string problem = date_problem(chain.front().get()); !problem.empty()) {
        throw InvalidInput(path + ": the certificate " + problem);
    }
    require(SSL_CTX_use_certificate(context, chain.front().get()) == 1 && SSL_CTX_use_PrivateKey(context, pair.key.get()) == 1,
            "use the certificate");
    for (std::size_t i = 1; i < chain.size(); ++i) {
        require(SSL_CTX_add1_chain_cert(context, chain[i].get()) == 1, "use the certificates between it and the CA");
    }
}

void trust(SSL_CTX* context, WatchedFile& file, bool is_server) {
    X509_STORE* store = SSL_CTX_get_cert_store(context);
    for (const CertificatePtr& certificate : certificates_of(file.read(), file.path())) {
        require(X509_STORE_add_cert(store, certificate.get()) == 1, "use a CA's certificate");
        if (is_server) require(SSL_CTX_add_client_CA(context, certificate.get()) == 1, "name a CA to clients");
    }
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);  // what stands in the file is trusted, whoever has signed it
}

bool is_address(const std::string& host) {
    unsigned char bytes[16];
    return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// Whose certificate it must be.
void expect(SSL* ssl, const std::string& host) {
    X509_VERIFY_PARAM* expected = SSL_get0_param(ssl);
    if (is_address(host)) {
        require(X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str()) == 1, "expect an address");
        return;
    }
    X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    require(X509_VERIFY_PARAM_set1_host(expected, host.data(), host.size()) == 1, "expect a name");
    require(SSL_set_tlsext_host_name(ssl, host.c_str()) == 1, "say whom it calls");
}

// A socket that is closed if nobody takes it.
class Taken {
  public:
    explicit Taken(int socket) : socket_(socket) {}
    ~Taken() {
        if (socket_ >= 0) ::close(socket_);
    }
    Taken(const Taken&) = delete;
    Taken& operator=(const Taken&) = delete;
    int release() { return std::exchange(socket_, -1); }

  private:
    int socket_;
};

class FileContext final : public TlsContext {
  public:
    FileContext(const TlsFiles& files, bool is_server, TlsProtocol protocol)
        : is_server_(is_server), protocol_(protocol), keystore_password_(files.keystore_password) {
        if (!files.keystore.empty()) keystore_.emplace(files.keystore, WatchedFile::Kind::secret);
        if (!files.certificate.empty()) certificate_.emplace(files.certificate, WatchedFile::Kind::open);
        if (!files.key.empty()) key_.emplace(files.key, WatchedFile::Kind::secret);
        if (!files.ca.empty()) ca_.emplace(files.ca, WatchedFile::Kind::open);
        if (certificate_.has_value() != key_.has_value())
            throw InvalidInput("a certificate and its key must be given together");
        if (is_server && !certificate_ && !keystore_) throw InvalidInput("expected the certificate of a server, got none");
        context_ = load();
    }

    std::unique_ptr<Transport> accept(int socket) override {
        Taken taken(socket);
        SslPtr ssl = begin();
        SSL_set_accept_state(ssl.get());
        return std::make_unique<TlsTransport>(std::move(ssl), taken.release(), demands(""));
    }

    std::unique_ptr<Transport> connect(int socket, const std::string& host) override {
        Taken taken(socket);
        SslPtr ssl = begin();
        SSL_set_connect_state(ssl.get());
        expect(ssl.get(), host);
        return std::make_unique<TlsTransport>(std::move(ssl), taken.release(), demands(host));
    }

    std::string refresh() override {
        const std::lock_guard lock(files_mutex_);
        if (!have_changed()) return problem_;
        try {
            SslContextPtr fresh = load();
            problem_.clear();
            const std::lock_guard context_lock(context_mutex_);
            context_.swap(fresh);
        } catch (const IoError& error) {
            problem_ = error.path + ": " + error.what();
        } catch (const InvalidInput& error) {
            problem_ = error.what();
        }
        return problem_;
    }

  private:
    bool have_changed() const {
        const auto has_changed = [](const std::optional<WatchedFile>& file) { return file && file->has_changed(); };
        return has_changed(certificate_) || has_changed(key_) || has_changed(ca_) || has_changed(keystore_);
    }

    SslContextPtr load() {
        SslContextPtr context = blank_context(is_server_, protocol_);
        if (certificate_) use(context.get(), read_pair(*certificate_, *key_), certificate_->path());
        if (keystore_) use(context.get(), read_keystore(*keystore_, keystore_password_), keystore_->path());
        if (ca_) {
            trust(context.get(), *ca_, is_server_);
        } else if (!is_server_) {
            require(SSL_CTX_set_default_verify_paths(context.get()) == 1, "find the system's CAs");
        }
        const bool asks = !is_server_ || ca_;
        SSL_CTX_set_verify(context.get(), asks ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE, nullptr);
        return context;
    }

    SslPtr begin() {
        const std::lock_guard lock(context_mutex_);
        SslPtr ssl(SSL_new(context_.get()));
        require(ssl != nullptr, "begin a connection");
        return ssl;
    }

    TlsDemands demands(const std::string& host) const {
        const bool http2 = protocol_ == TlsProtocol::http2;
        return {is_server_, http2, ca_ ? "the CA of " + ca_->path() : "one of the system's CAs", host};
    }

    const bool is_server_;
    const TlsProtocol protocol_;
    const std::string keystore_password_;
    std::mutex files_mutex_;
    std::optional<WatchedFile> certificate_, key_, ca_, keystore_;
    std::string problem_;
    std::mutex context_mutex_;
    SslContextPtr context_;
};

std::shared_ptr<TlsContext> context_of(const TlsFiles& files, bool is_server, TlsProtocol protocol) {
    start_openssl();
    return std::make_shared<FileContext>(files, is_server, protocol);
}

}  // namespace

std::shared_ptr<TlsContext> TlsContext::for_server(const TlsFiles& files, TlsProtocol protocol) {
    return context_of(files, true, protocol);
}
std::shared_ptr<TlsContext> TlsContext::for_client(const TlsFiles& files) {
    return context_of(files, false, TlsProtocol::http2);
}

}  // namespace persia::grpc
