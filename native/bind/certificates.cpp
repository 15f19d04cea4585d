#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "bind.hpp"
#include "grpc/certificates.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

// A certificate and its key, in PEM.
using Pems = std::pair<std::string, std::string>;

Pems pems(grpc::Certified&& made) { return {std::move(made.certificate), std::move(made.key)}; }

grpc::Usage usage_named(const std::string& name) {
    if (name == "server") return grpc::Usage::server;
    if (name == "client") return grpc::Usage::client;
    throw InvalidInput("expected the usage `server` or `client`, got `" + name + "`");
}

}  // namespace

void certificates(nb::module_& module) {
    module.def(
        "make_authority",
        [](const std::string& name, std::int64_t from, std::int64_t until) {
            return pems(grpc::make_authority(name, {from, until}));
        },
        nb::arg("name"), nb::arg("valid_from"), nb::arg("valid_until"),
        "A CA: its certificate and its key, in PEM. Times are seconds since 1970.");
    module.def(
        "make_certificate",
        [](const Pems& authority, const std::string& name, const std::vector<std::string>& hosts, const std::string& usage,
           std::int64_t from, std::int64_t until) {
            return pems(
                grpc::make_certificate({authority.first, authority.second}, name, hosts, usage_named(usage), {from, until}));
        },
        nb::arg("authority"), nb::arg("name"), nb::arg("hosts"), nb::arg("usage"), nb::arg("valid_from"),
        nb::arg("valid_until"), "A certificate that the authority signs, and its key, in PEM. usage: `server` or `client`.");
}

}  // namespace persia::bind
