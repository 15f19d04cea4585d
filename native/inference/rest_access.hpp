// Who may ask over REST: by a key, a token or a certificate, and from which pages.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "grpc/guard.hpp"
#include "http/exchange.hpp"

namespace persia::inference {

// Which pages of other sites may ask, from browsers; empty: it is not said.
struct Cors {
    std::string origin, methods, headers;
};

struct RestAccess {
    using GuardPtr = std::shared_ptr<grpc::Guard>;

    GuardPtr guard;                            // null: everybody may ask
    std::map<std::string, GuardPtr> of_paths;  // by the first segment of a path, in the place of `guard`
    Cors cors;

    // As of http::Service.
    std::variant<std::string, http::Response> admit(const http::RequestHead& head, std::string_view certificate) const;
    void put_cors(http::Response& response) const;
};

// Of a browser that asks whether a page may ask. It is answered with no more than that.
bool is_preflight(const http::RequestHead& head);

// Whether it is `/invocations` or `/models/NAME/invoke`, as SageMaker asks for predictions.
bool is_invocation(const std::vector<std::string>& segments);

}  // namespace persia::inference
