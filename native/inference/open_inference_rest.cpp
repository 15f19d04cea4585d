#include "inference/open_inference_rest.hpp"

#include <utility>
#include <variant>

#include "base/utf8.hpp"
#include "inference/json_text.hpp"
#include "inference/request_wishes.hpp"
#include "inference/rest_responder.hpp"

namespace persia::inference {

namespace {

http::Response error_response(int status, const std::string& message) {
    return {status,
            "",
            {{"content-type", "application/json"}},
            grpc::OutgoingMessage("{\"error\": " + json_quoted(message) + "}\n"),
            false};
}

http::Response failure_response(const Failure& failure) {
    switch (failure.kind) {
        case Failure::Kind::no_worker:
            return error_response(503, failure.message);
        case Failure::Kind::queue_full: {
            http::Response response = error_response(429, failure.message);
            response.headers.emplace_back("Retry-After", retry_after_seconds(failure));
            return response;
        }
        case Failure::Kind::expired:
            return error_response(408, failure.message);
        case Failure::Kind::worker_died:
        case Failure::Kind::handler:
            break;
    }
    return error_response(failure.status, failure.message);
}

const RestManners kManners{failure_response, false};

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
    if (!is_utf8(route.model) || !is_utf8(route.version)) {
        return exchange->respond(error_response(400, "expected a target that is UTF-8 when it is decoded, got other bytes"));
    }
    const auto found = models.route(route.model, route.version, [&request](const std::string& name) {
        const std::string* value = http::find(request.head.headers, name);
        return value == nullptr ? std::string_view() : std::string_view(*value);
    });
    if (const auto* not_served = std::get_if<NotServed>(&found)) {
        return exchange->respond(error_response(404, not_served->message));
    }
    const std::string* type = http::find(request.head.headers, "content-type");
    const http::Headers& headers = request.head.headers;
    auto wishes = wishes_of(http::find(headers, kRequestId), http::find(headers, kPriority), http::find(headers, kTimeout));
    if (const auto* problem = std::get_if<std::string>(&wishes)) return exchange->respond(error_response(400, *problem));
    Job job;
    const std::string_view body = request.text();
    job.request = {{},
                   request.head.headers,
                   {{"body", type == nullptr ? "" : http::mime_type(*type), std::as_bytes(std::span(body))}},
                   exchange};
    job.request.headers.emplace_back("explain", route.explain ? "True" : "False");
    job.request.headers.emplace_back(kOpenInferenceHeader, "rest");
    job.arrived = request.arrived;
    job.names_version = !route.version.empty();
    job.totals = models.totals(route.model, route.version);
    apply(std::get<RequestWishes>(std::move(wishes)), std::nullopt, job);
    job.responder = std::make_shared<RestResponder>(exchange, job.request.id, kManners);
    if (job.deadline) watch_deadline(reactor, *job.deadline, job.responder);
    std::get<Destination>(found).submit(std::move(job));
}

}  // namespace persia::inference
