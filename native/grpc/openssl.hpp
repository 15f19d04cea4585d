// OpenSSL's objects, which free themselves, and its errors in words.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

namespace persia::grpc {

template <auto kFree>
struct FreedBy {
    template <class T>
    void operator()(T* object) const noexcept {
        kFree(object);
    }
};

using BioPtr = std::unique_ptr<BIO, FreedBy<&BIO_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, FreedBy<&EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, FreedBy<&X509_free>>;
using SslContextPtr = std::unique_ptr<SSL_CTX, FreedBy<&SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, FreedBy<&SSL_free>>;

// Before anything else of OpenSSL's: nothing is taken down at the end of the process, when threads may still be at work.
inline void start_openssl() { OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr); }

// What the last call that failed says of it. Empties the thread's list of errors.
inline std::string openssl_error() {
    const unsigned long error = ERR_peek_last_error();
    const char* reason = ERR_reason_error_string(error);
    ERR_clear_error();
    return reason != nullptr ? reason : "an error without words (" + std::to_string(error) + ")";
}

// A view of a text, which must live as long.
inline BioPtr bio_of(std::string_view text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

}  // namespace persia::grpc
