#include "grpc/keystore.hpp"

#include <openssl/pkcs12.h>

#include "base/error.hpp"

namespace persia::grpc {

namespace {

using Pkcs12Ptr = std::unique_ptr<PKCS12, FreedBy<&PKCS12_free>>;

constexpr std::string_view kJavaKeystore = "\xfe\xed\xfe\xed";

std::string conversion_of(const std::string& file) {
    return "`keytool -importkeystore -srckeystore " + file + " -destkeystore keystore.p12 -deststoretype pkcs12` makes one";
}

}  // namespace

KeyedChain keystore_content(std::string_view bytes, const std::string& file, const std::string& password) {
    if (bytes.starts_with(kJavaKeystore)) {
        throw InvalidInput(file + ": expected a keystore of PKCS12, got one of JKS: " + conversion_of(file));
    }
    const BioPtr bio = bio_of(bytes);
    const Pkcs12Ptr store(d2i_PKCS12_bio(bio.get(), nullptr));
    if (store == nullptr) {
        ERR_clear_error();
        throw InvalidInput(file + ": expected a keystore of PKCS12, got other bytes");
    }
    EVP_PKEY* key = nullptr;
    X509* certificate = nullptr;
    STACK_OF(X509)* others = nullptr;
    if (PKCS12_parse(store.get(), password.c_str(), &key, &certificate, &others) != 1) {
        const bool is_password = ERR_GET_REASON(ERR_peek_last_error()) == PKCS12_R_MAC_VERIFY_FAILURE;
        const std::string problem = openssl_error();
        throw InvalidInput(file + (is_password ? ": expected the keystore's password in keystore_pass, got another one"
                                               : ": expected a keystore that OpenSSL can read, got one that it cannot (" +
                                                     problem + "): " + conversion_of(file)));
    }
    KeyedChain found;
    found.key.reset(key);
    if (certificate != nullptr) found.chain.emplace_back(certificate);
    while (X509* other = others != nullptr ? sk_X509_shift(others) : nullptr) found.chain.emplace_back(other);
    sk_X509_free(others);
    if (certificate == nullptr || key == nullptr) {
        throw InvalidInput(file + ": expected a keystore with a certificate and its key, got one without");
    }
    return found;
}

}  // namespace persia::grpc
