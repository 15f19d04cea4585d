// Why a TLS connection has failed, in words.
#pragma once

#include <string>

#include "grpc/openssl.hpp"

namespace persia::grpc {

// What one end of a connection has asked of the other.
struct TlsDemands {
    bool is_server = false;
    bool http2 = true;  // the other end must say that it speaks it; false: HTTP/1.1
    std::string ca;     // the file of who must have signed the other's certificate, or `the system's CAs`
    std::string host;   // whose certificate a client expects
};

// REQUIRES: a call of OpenSSL's has just failed for good. Empties the thread's list of errors.
std::string tls_problem(const TlsDemands& demands);

// What is wrong with the other end's certificate. REQUIRES: its verification has just failed.
std::string certificate_problem(X509_STORE_CTX* verification, const TlsDemands& demands);

// Both ends must want the same protocol.
std::string no_protocol_problem(const TlsDemands& demands);

}  // namespace persia::grpc
