#include "grpc/certificates.hpp"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <array>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "grpc/openssl.hpp"
#include "grpc/pem.hpp"

namespace persia::grpc {

namespace {

constexpr std::size_t kMaxCommonName = 64;  // by X.509
constexpr std::size_t kMaxHost = 253;

void require(bool done, const char* what) {
    if (!done) throw InvalidInput(std::string("OpenSSL cannot ") + what + ": " + openssl_error());
}

KeyPtr new_key() {
    KeyPtr key(EVP_EC_gen("P-256"));
    require(key != nullptr, "make a key");
    return key;
}

void set_serial(X509* certificate) {
    std::array<unsigned char, 16> bytes{};
    require(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1, "make random numbers");
    bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7fU) | 0x40U);  // positive, and always as long
    const std::unique_ptr<BIGNUM, FreedBy<&BN_free>> number(BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
    require(number != nullptr && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr,
            "write a serial number");
}

void set_name(X509_NAME* to, const std::string& name) {
    if (name.empty() || name.size() > kMaxCommonName) {
        throw InvalidInput("expected a name of 1 to " + std::to_string(kMaxCommonName) + " characters, got " +
                           std::to_string(name.size()));
    }
    const auto* bytes = reinterpret_cast<const unsigned char*>(name.data());
    require(X509_NAME_add_entry_by_NID(to, NID_commonName, MBSTRING_UTF8, bytes, static_cast<int>(name.size()), -1, 0) == 1,
            "write a name");
}

CertificatePtr blank(const std::string& name, EVP_PKEY* key, Validity validity) {
    if (validity.from >= validity.until) throw InvalidInput("expected a certificate that begins before it ends");
    CertificatePtr certificate(X509_new());
    require(certificate != nullptr && X509_set_version(certificate.get(), X509_VERSION_3) == 1, "make a certificate");
    set_serial(certificate.get());
    set_name(X509_get_subject_name(certificate.get()), name);
    require(ASN1_TIME_set(X509_getm_notBefore(certificate.get()), validity.from) != nullptr &&
                ASN1_TIME_set(X509_getm_notAfter(certificate.get()), validity.until) != nullptr,
            "write dates");
    require(X509_set_pubkey(certificate.get(), key) == 1, "write a public key");
    return certificate;
}

void extend(X509* certificate, X509* issuer, int kind, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    const std::unique_ptr<X509_EXTENSION, FreedBy<&X509_EXTENSION_free>> extension(
        X509V3_EXT_conf_nid(nullptr, &context, kind, value));
    require(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1, "write an extension");
}

bool is_dns_name(std::string_view host) {
    if (host.substr(0, 2) == "*.") host.remove_prefix(2);
    if (host.empty() || host.size() > kMaxHost || host.front() == '.' || host.find("..") != std::string_view::npos)
        return false;
    return host.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") ==
           std::string_view::npos;
}

using GeneralNamePtr = std::unique_ptr<GENERAL_NAME, FreedBy<&GENERAL_NAME_free>>;

GeneralNamePtr general_name(const std::string& host) {
    std::array<unsigned char, 16> address{};
    const std::size_t length = ::inet_pton(AF_INET, host.c_str(), address.data()) == 1    ? 4
                               : ::inet_pton(AF_INET6, host.c_str(), address.data()) == 1 ? 16
                                                                                          : 0;
    if (length == 0 && !is_dns_name(host)) throw InvalidInput("expected a DNS name or an address, got `" + host + "`");
    GeneralNamePtr name(GENERAL_NAME_new());
    ASN1_STRING* value = ASN1_STRING_type_new(length != 0 ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    require(name != nullptr && value != nullptr, "write a name");
    GENERAL_NAME_set0_value(name.get(), length != 0 ? GEN_IPADD : GEN_DNS, value);
    const void* bytes = length != 0 ? static_cast<const void*>(address.data()) : host.data();
    require(ASN1_STRING_set(value, bytes, static_cast<int>(length != 0 ? length : host.size())) == 1, "write a name");
    return name;
}

void add_hosts(X509* certificate, const std::vector<std::string>& hosts) {
    if (hosts.empty()) return;
    const std::unique_ptr<GENERAL_NAMES, FreedBy<&GENERAL_NAMES_free>> names(sk_GENERAL_NAME_new_null());
    for (const std::string& host : hosts) {
        GeneralNamePtr name = general_name(host);
        require(names != nullptr && sk_GENERAL_NAME_push(names.get(), name.get()) > 0, "write a name");
        static_cast<void>(name.release());
    }
    require(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) == 1, "write names");
}

std::string text_of(BIO* bio) {
    char* bytes = nullptr;
    const long size = BIO_get_mem_data(bio, &bytes);
    return {bytes, static_cast<std::size_t>(size)};
}

Certified signed_by(X509* certificate, EVP_PKEY* own, EVP_PKEY* signer) {
    require(X509_sign(certificate, signer, EVP_sha256()) > 0, "sign a certificate");
    const BioPtr pem(BIO_new(BIO_s_mem())), key(BIO_new(BIO_s_secmem()));
    require(PEM_write_bio_X509(pem.get(), certificate) == 1, "write a certificate");
    require(PEM_write_bio_PKCS8PrivateKey(key.get(), own, nullptr, nullptr, 0, nullptr, nullptr) == 1, "write a key");
    return {text_of(pem.get()), text_of(key.get())};
}

}  // namespace

Certified make_authority(const std::string& name, Validity validity) {
    start_openssl();
    const KeyPtr key = new_key();
    const CertificatePtr certificate = blank(name, key.get(), validity);
    require(X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) == 1, "write a name");
    extend(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    extend(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    extend(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash");
    return signed_by(certificate.get(), key.get(), key.get());
}

Certified make_certificate(const Certified& authority, const std::string& name, const std::vector<std::string>& hosts,
                           Usage usage, Validity validity) {
    start_openssl();
    const std::vector<CertificatePtr> issuers = certificates_of(authority.certificate, "the CA's certificate");
    X509* issuer = issuers.front().get();
    const KeyPtr signer = key_of(authority.key, "the CA's key");
    if (X509_check_private_key(issuer, signer.get()) != 1) {
        ERR_clear_error();
        throw InvalidInput("expected the key of the CA's certificate, got another one");
    }
    const KeyPtr key = new_key();
    const CertificatePtr certificate = blank(name, key.get(), validity);
    require(X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer)) == 1, "write a name");
    extend(certificate.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
    extend(certificate.get(), issuer, NID_key_usage, "critical,digitalSignature");
    extend(certificate.get(), issuer, NID_ext_key_usage, usage == Usage::server ? "serverAuth" : "clientAuth");
    extend(certificate.get(), issuer, NID_subject_key_identifier, "hash");
    extend(certificate.get(), issuer, NID_authority_key_identifier, "keyid");
    add_hosts(certificate.get(), hosts);
    return signed_by(certificate.get(), key.get(), signer.get());
}

}  // namespace persia::grpc
