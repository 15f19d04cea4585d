#include "inference/rest_access.hpp"

#include <utility>

#include "inference/rest_errors.hpp"

namespace persia::inference {

namespace {

// Of the API, which needs no key.
bool is_description(const std::string& method, const std::vector<std::string>& segments) {
    return segments.empty() ? method == "OPTIONS" : segments.size() == 1 && segments[0] == "api-description";
}

// Who may ask, null: everybody. The path counts as those read it who answer: with what is encoded in it decoded.
const grpc::Guard* guard_for(const RestAccess& access, const http::RequestHead& head) {
    const auto target = http::parse_target(head.target);
    if (!target || is_invocation(target->segments)) return access.guard.get();
    if (is_description(head.method, target->segments)) return nullptr;
    const auto found = target->segments.empty() ? access.of_paths.end() : access.of_paths.find(target->segments[0]);
    return found == access.of_paths.end() ? access.guard.get() : found->second.get();
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

bool is_invocation(const std::vector<std::string>& segments) {
    return (segments.size() == 1 && segments[0] == "invocations") ||
           (segments.size() == 3 && segments[0] == "models" && segments[2] == "invoke");
}

std::variant<std::string, http::Response> RestAccess::admit(const http::RequestHead& head, std::string_view certificate) const {
    if (is_preflight(head)) return std::string();  // browsers show nothing with it
    const grpc::Guard* asked = guard_for(*this, head);
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
