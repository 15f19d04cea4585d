// Certificates and keys as PEM files have them, and what certificates say in words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "grpc/openssl.hpp"

namespace persia::grpc {

// All of a file, in order; at least one. Throws InvalidInput, which names the file.
std::vector<CertificatePtr> certificates_of(std::string_view pem, const std::string& file);
// Throws InvalidInput.
KeyPtr key_of(std::string_view pem, const std::string& file);

// Who it is of: its first name of the DNS or URI among the alternative ones, else its common name; may be empty.
std::string name_of(const X509* certificate);
// The names and addresses of a server: `localhost`, `127.0.0.1`; empty: none.
std::string hosts_of(const X509* certificate);
// Who has signed it, in words.
std::string signer_of(const X509* certificate);

// Seconds since 1970.
std::int64_t seconds_of(const ASN1_TIME* time);
std::string date_of(const ASN1_TIME* time);

// Why it is of no use now, by its dates: `has expired on 2026-01-31 12:00:00 UTC`; empty: it is of use.
std::string date_problem(const X509* certificate);

}  // namespace persia::grpc
