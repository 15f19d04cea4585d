// Keystores: a certificate and its key in one file with a password, as Java programs have them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "grpc/openssl.hpp"

namespace persia::grpc {

// A certificate, those between it and the CA, and the key of the first.
struct KeyedChain {
    std::vector<CertificatePtr> chain;
    KeyPtr key;
};

// What a file of PKCS12 has. Throws InvalidInput, which names the file: a wrong password, no key, another format such as JKS.
KeyedChain keystore_content(std::string_view bytes, const std::string& file, const std::string& password);

}  // namespace persia::grpc
