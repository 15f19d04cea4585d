#include "grpc/pem.hpp"

#include <arpa/inet.h>
#include <openssl/pem.h>

#include <ctime>

#include "base/error.hpp"

namespace persia::grpc {

namespace {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, FreedBy<&GENERAL_NAMES_free>>;

// Text that may stand in a line of a log: anything else might be made up by who is not known yet.
std::string printable(const ASN1_STRING* value) {
    if (value == nullptr) return {};
    const unsigned char* bytes = ASN1_STRING_get0_data(value);
    std::string text;
    for (int i = 0; i < ASN1_STRING_length(value); ++i) {
        if (bytes[i] < 0x20 || bytes[i] == 0x7f) return {};
        text.push_back(static_cast<char>(bytes[i]));
    }
    return text;
}

std::string common_name(const X509_NAME* name) {
    const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0) return {};
    return printable(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
}

std::string address_of(const ASN1_OCTET_STRING* value) {
    char text[INET6_ADDRSTRLEN] = {};
    const int length = ASN1_STRING_length(value);
    if (length != 4 && length != 16) return {};
    ::inet_ntop(length == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), text, sizeof text);
    return text;
}

NamesPtr alternative_names(const X509* certificate) {
    return NamesPtr(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
}

template <class Visit>
void each_name(const X509* certificate, Visit visit) {
    const NamesPtr names = alternative_names(certificate);
    for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        visit(*sk_GENERAL_NAME_value(names.get(), i));
    }
}

int no_passphrase(char*, int, int, void*) { return 0; }

}  // namespace

std::vector<CertificatePtr> certificates_of(std::string_view pem, const std::string& file) {
    const BioPtr bio = bio_of(pem);
    std::vector<CertificatePtr> certificates;
    while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) certificates.emplace_back(certificate);
    const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const std::string problem = openssl_error();
    if (certificates.empty() || !at_end) {
        throw InvalidInput(file + ": expected certificates in PEM, got " +
                           (at_end ? "no `-----BEGIN CERTIFICATE-----`" : "one that cannot be read (" + problem + ")"));
    }
    return certificates;
}

KeyPtr key_of(std::string_view pem, const std::string& file) {
    const BioPtr bio = bio_of(pem);
    KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
    if (key != nullptr) return key;
    const bool is_locked = pem.find("ENCRYPTED") != std::string_view::npos;
    const std::string problem = openssl_error();
    throw InvalidInput(file + ": expected a private key in PEM without a passphrase, got " +
                       (is_locked ? "one with a passphrase: take it off with `openssl pkey -in " + file + "`"
                        : pem.find("PRIVATE KEY-----") == std::string_view::npos
                            ? "no `-----BEGIN PRIVATE KEY-----`"
                            : "one that cannot be read (" + problem + ")"));
}

std::string name_of(const X509* certificate) {
    std::string found;
    each_name(certificate, [&](const GENERAL_NAME& name) {
        if (found.empty() && name.type == GEN_DNS) found = printable(name.d.dNSName);
        if (found.empty() && name.type == GEN_URI) found = printable(name.d.uniformResourceIdentifier);
    });
    return found.empty() ? common_name(X509_get_subject_name(certificate)) : found;
}

std::string hosts_of(const X509* certificate) {
    std::string hosts;
    each_name(certificate, [&](const GENERAL_NAME& name) {
        const std::string host = name.type == GEN_DNS     ? printable(name.d.dNSName)
                                 : name.type == GEN_IPADD ? address_of(name.d.iPAddress)
                                                          : std::string();
        if (!host.empty()) hosts += (hosts.empty() ? "`" : ", `") + host + "`";
    });
    return hosts;
}

std::string signer_of(const X509* certificate) {
    const std::string name = common_name(X509_get_issuer_name(certificate));
    return name.empty() ? "a CA without a name" : "`" + name + "`";
}

std::int64_t seconds_of(const ASN1_TIME* time) {
    std::tm parts{};
    if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
    return ::timegm(&parts);
}

std::string date_of(const ASN1_TIME* time) {
    std::tm parts{};
    char text[32] = {};
    if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return text;
}

std::string date_problem(const X509* certificate) {
    const ASN1_TIME* begins = X509_get0_notBefore(certificate);
    const ASN1_TIME* ends = X509_get0_notAfter(certificate);
    if (X509_cmp_current_time(ends) < 0) return "has expired on " + date_of(ends);
    if (X509_cmp_current_time(begins) > 0) return "is not valid before " + date_of(begins);
    return {};
}

}  // namespace persia::grpc
