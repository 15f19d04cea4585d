#include "inference/rest_access.hpp"

#include <utility>

#include "inference/rest_service.hpp"

namespace persia::inference {

namespace {

// As those read it who answer: with what is encoded in the target decoded.
bool is_about_keys(const http::RequestHead& head) {
    const auto target = http::parse_target(head.target);
    return target && target->segments.size() == 1 && target->segments[0] == "token";
}

// TorchServe's own keys are refused as TorchServe refuses them, with 400.
http::Response refused_as(const grpc::Status& status) {
    const bool is_key = status.code == grpc::Code::permission_denied;
    http::Response response = error_response(is_key ? 400 : 401, "InvalidKeyException", status.message);
    if (!is_key) response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return response;
}

}  // namespace

bool is_preflight(const http::RequestHead& head) {
    return head.method == "OPTIONS" && http::find(head.headers, "access-control-request-method") != nullptr;
}

std::variant<std::string, http::Response> RestAccess::admit(const http::RequestHead& head, std::string_view certificate) const {
    if (is_preflight(head)) return std::string();  // browsers show nothing with it
    const grpc::Guard* asked = key_guard && is_about_keys(head) ? key_guard.get() : guard.get();
    if (asked == nullptr) return std::string(certificate);
    const std::string* header = http::find(head.headers, "authorization");
    const std::string_view authorization = header == nullptr ? std::string_view() : *header;
    auto identity = asked->identity_of(authorization, certificate);
    if (identity) return std::move(*identity);
    return refused_as(asked->refusal(authorization, certificate));
}

void RestAccess::put_cors(http::Response& response) const {
    for (const auto& [name, value] : {std::pair{"Access-Control-Allow-Origin", &cors.origin},
                                      {"Access-Control-Allow-Methods", &cors.methods},
                                      {"Access-Control-Allow-Headers", &cors.headers}}) {
        if (!value->empty()) response.headers.emplace_back(name, *value);
    }
}

}  // namespace persia::inference
