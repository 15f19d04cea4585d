#include "inference/open_inference_rest.hpp"

#include <span>
#include <utility>
#include <vector>

#include "inference/json_text.hpp"
#include "inference/submit_exchange.hpp"

namespace persia::inference {

namespace {

http::Response error_response(int status, const std::string& message) {
    return {status,
            "",
            {{"content-type", "application/json"}},
            grpc::OutgoingMessage("{\"error\": " + json_quoted(message) + "}\n"),
            false};
}

http::Response failure_response(const Failure& failure) { return error_response(failure.status, failure.message); }
http::Response bad_request(const std::string& message) { return error_response(400, message); }
http::Response not_found(const NotServed& not_served) { return error_response(404, not_served.message); }

const RestManners kManners{failure_response, bad_request, not_found, false};

}  // namespace

std::optional<InferRoute> open_inference_route(const http::Request& request) {
    const auto& segments = request.target.segments;
    const bool has_version = segments.size() == 6 && segments[3] == "versions";
    if (segments.size() != 4 && !has_version) return std::nullopt;
    if (request.head.method != "POST" || segments[0] != "v2" || segments[1] != "models") return std::nullopt;
    const std::string& verb = segments.back();
    if (verb != "infer" && verb != "explain") return std::nullopt;
    return InferRoute{segments[2], has_version ? segments[4] : "", verb == "explain"};
}

void infer(const Models& models, const http::ExchangePtr& exchange, const InferRoute& route, net::Reactor& reactor) {
    const http::Request& request = exchange->request();
    const std::string* encoding = http::find(request.head.headers, "content-encoding");
    if (encoding != nullptr && !http::equal_ignoring_case(*encoding, "identity")) {
        return exchange->respond(
            error_response(415, "expected a body that is not compressed, got Content-Encoding: " + *encoding));
    }
    const std::string* type = http::find(request.head.headers, "content-type");
    std::vector<Input> inputs{
        {"body", type == nullptr ? "" : http::mime_type(*type), std::as_bytes(std::span(request.text()))}};
    Asked asked{route.model, route.version, {{"explain", route.explain ? "True" : "False"}, {kOpenInferenceHeader, "rest"}}};
    submit_exchange(models, exchange, std::move(asked), std::move(inputs), kManners, reactor);
}

}  // namespace persia::inference
