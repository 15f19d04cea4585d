#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <string>

#include "bind.hpp"
#include "grpc/guard.hpp"
#include "grpc/tls.hpp"
#include "grpc/tokens.hpp"
#include "grpc/watched_file.hpp"
#include "release.hpp"

namespace nb = nanobind;

namespace persia::bind {

namespace {

using grpc::Guard;
using grpc::TlsContext;
using grpc::TlsFiles;
using grpc::Tokens;

std::shared_ptr<TlsContext> server_tls(std::string certificate, std::string key, std::string client_ca, std::string keystore,
                                       std::string keystore_password, bool http1) {
    const Released released;
    return TlsContext::for_server(
        {std::move(certificate), std::move(key), std::move(client_ca), std::move(keystore), std::move(keystore_password)},
        http1 ? grpc::TlsProtocol::http1 : grpc::TlsProtocol::http2);
}

std::shared_ptr<TlsContext> client_tls(std::string ca, std::string certificate, std::string key) {
    const Released released;
    return TlsContext::for_client({std::move(certificate), std::move(key), std::move(ca)});
}

std::shared_ptr<Guard> guard(const std::string& tokens, bool needs_certificate) {
    const Released released;
    return grpc::guard_of(tokens, needs_certificate);
}

std::shared_ptr<Tokens> tokens(const std::string& path) {
    const Released released;
    return std::make_shared<Tokens>(path);
}

nb::bytes read_secret(const std::string& path) {
    const std::string content = grpc::WatchedFile(path, grpc::WatchedFile::Kind::secret).read();
    return nb::bytes(content.data(), content.size());
}

template <class Refreshed>
std::string refresh(Refreshed& refreshed) {
    const Released released;
    return refreshed.refresh();
}

constexpr const char* kRefresh =
    "Reads the files again if they have changed. Wrong ones leave what was there. Returns what is wrong, or an empty text.";

}  // namespace

void security(nb::module_& module) {
    nb::class_<TlsContext>(module, "TlsContext", "Encrypted connections. Any thread may use it.")
        .def_static("for_server", &server_tls, nb::arg("certificate"), nb::arg("key"), nb::arg("client_ca"), nb::kw_only(),
                    nb::arg("keystore") = "", nb::arg("keystore_password") = "", nb::arg("http1") = false,
                    "client_ca: who must have signed a client's certificate; empty: none is asked for. keystore: of PKCS12, in "
                    "place of certificate and key. http1: clients speak HTTP/1.1 in place of HTTP/2.")
        .def_static("for_client", &client_tls, nb::arg("ca"), nb::arg("certificate"), nb::arg("key"),
                    "ca: empty: those of the system. certificate, key: empty: none is shown.")
        .def("refresh", &refresh<TlsContext>, kRefresh);
    nb::class_<Guard>(module, "Guard", "Who may call. Any thread may use it.")
        .def_static("of", &guard, nb::arg("tokens"), nb::arg("needs_certificate"), "tokens: a file; empty: none is asked for.")
        .def(
            "identity_of",
            [](const Guard& self, const std::string& authorization, const std::string& certificate) {
                return self.identity_of(authorization, certificate);
            },
            nb::arg("authorization"), nb::arg("certificate"), "None: the caller is refused.")
        .def("refresh", &refresh<Guard>, kRefresh);
    nb::class_<grpc::TokenSource>(module, "TokenSource", "The token that a client shows.");
    nb::class_<Tokens, grpc::TokenSource>(module, "Tokens", "Bearer tokens of a file. Any thread may use it.")
        .def(nb::new_(&tokens), nb::arg("path"))
        .def("token", &Tokens::token, "The first token of the file; empty: it has none.")
        .def("refresh", &refresh<Tokens>, kRefresh);
    module.def("read_secret", &read_secret, nb::arg("path"), "A file that nobody but its owner may read.");
}

}  // namespace persia::bind
