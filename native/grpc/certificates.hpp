// Makes certificates: a CA, and what it signs. For a trial and for tests; an organisation has a CA of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace persia::grpc {

// A certificate and its key, both in PEM.
struct Certified {
    std::string certificate;
    std::string key;
};

// Seconds since 1970.
struct Validity {
    std::int64_t from;
    std::int64_t until;
};

enum class Usage { server, client };

// Throws InvalidInput.
Certified make_authority(const std::string& name, Validity validity);

// name: the common name. hosts: DNS names, also `*.name`, and addresses. Throws InvalidInput.
Certified make_certificate(const Certified& authority, const std::string& name, const std::vector<std::string>& hosts,
                           Usage usage, Validity validity);

}  // namespace persia::grpc
