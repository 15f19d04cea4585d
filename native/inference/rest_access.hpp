// Who may ask over REST: by a key, a token or a certificate, and from which pages.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "grpc/guard.hpp"
#include "http/exchange.hpp"

namespace persia::inference {

// Which pages of other sites may ask, from browsers; empty: it is not said.
struct Cors {
    std::string origin, methods, headers;
};

struct RestAccess {
    std::shared_ptr<const grpc::Guard> guard;      // null: everybody may ask
    std::shared_ptr<const grpc::Guard> key_guard;  // who may ask for new keys at `/token`; null: nothing is there
    Cors cors;

    // As of http::Service.
    std::variant<std::string, http::Response> admit(const http::RequestHead& head, std::string_view certificate) const;
    void put_cors(http::Response& response) const;
};

// Of a browser that asks whether a page may ask. It is answered with no more than that.
bool is_preflight(const http::RequestHead& head);

}  // namespace persia::inference
