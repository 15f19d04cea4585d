// Encrypted connections: TLS 1.2 and up, with ALPN. Certificates are read again when their files change.
//
// Thread safety: any thread may use a context.
#pragma once

#include <memory>
#include <string>

#include "grpc/transport.hpp"

namespace persia::grpc {

struct TlsFiles {
    std::string certificate;  // PEM, with those between it and the CA; empty: none (a client's only)
    std::string key;          // PEM; refused if others than its owner and its group can read it
    std::string ca;  // PEM: who must have signed the other end's; empty: a server asks for none, a client has the system's
    std::string keystore = {};  // PKCS12: in place of certificate and key; empty: none
    std::string keystore_password = {};
};

// What is spoken over a connection: HTTP/2 wants both ends to say so, HTTP/1.1 goes without.
enum class TlsProtocol { http2, http1 };

class TlsContext {
  public:
    // Throws IoError, InvalidInput (with the file and what is wrong with it).
    static std::shared_ptr<TlsContext> for_server(const TlsFiles& files, TlsProtocol protocol = TlsProtocol::http2);
    static std::shared_ptr<TlsContext> for_client(const TlsFiles& files);
    virtual ~TlsContext() = default;

    // Takes a socket that does not block. host: whose certificate a client expects (a name or an address).
    virtual std::unique_ptr<Transport> accept(int socket) = 0;
    virtual std::unique_ptr<Transport> connect(int socket, const std::string& host) = 0;

    // Reads the files again if they have changed. Files that are wrong leave what was there; returns what is wrong, or "".
    virtual std::string refresh() = 0;
};

}  // namespace persia::grpc
