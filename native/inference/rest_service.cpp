#include "inference/rest_service.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "base/text.hpp"
#include "http/form.hpp"
#include "inference/open_inference_rest.hpp"
#include "inference/request_options.hpp"
#include "inference/rest_errors.hpp"
#include "inference/submit_exchange.hpp"

namespace persia::inference {

namespace {

using http::ExchangePtr;
using http::Response;

// What a path asks for, of which model.
struct Route {
    std::string model, version, url_path;
    bool explain = false;
    bool query_is_input = false;  // SageMaker's, and the oldest
    bool has_url_path = true;
};

std::string joined(const std::vector<std::string>& segments, std::size_t from) {
    std::string path;
    for (std::size_t i = from; i < segments.size(); ++i) path += (i == from ? "" : "/") + segments[i];
    return path;
}

// `m:predict` and `m:explain` of KServe.
std::optional<Route> kserve_route(const std::string& segment) {
    for (const auto& [end, explains] : {std::pair{std::string_view(":predict"), false}, {std::string_view(":explain"), true}}) {
        if (segment.ends_with(end) && segment.size() > end.size()) {
            return Route{segment.substr(0, segment.size() - end.size()), {}, {}, explains, false, false};
        }
    }
    return std::nullopt;
}

std::string content_type_of(const http::Request& request) {
    const std::string* header = http::find(request.head.headers, "content-type");
    return header == nullptr ? "" : http::mime_type(*header);
}

bool is_form(const std::string& type) { return type == "multipart/form-data" || type == "application/x-www-form-urlencoded"; }

// curl says of all that it sends that it is a form, also of the tensors in JSON.
bool is_json_object(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n");
    return begin != std::string_view::npos && text[begin] == '{';
}

// `/v2/models/m/infer` and `explain` with a form, which are no tensors: TorchServe's handlers get its fields.
std::optional<Route> form_route(const http::Request& request) {
    const auto& segments = request.target.segments;
    if (segments.size() != 4 || segments[0] != "v2" || segments[1] != "models") return std::nullopt;
    const bool explains = segments[3] == "explain";
    if ((!explains && segments[3] != "infer") || !is_form(content_type_of(request))) return std::nullopt;
    if (!explains && is_json_object(request.text())) return std::nullopt;
    return Route{segments[2], {}, {}, explains, false, false};
}

// `/m/predict`, as the server before TorchServe had it. Names that begin other paths are no models' there.
bool is_oldest_form(const std::vector<std::string>& segments) {
    constexpr std::array<std::string_view, 8> kOthers{"models",    "v1",   "v2",    "workflows",
                                                      "wfpredict", "ping", "token", "metrics"};
    return segments.size() == 2 && segments[1] == "predict" && std::ranges::find(kOthers, segments[0]) == kOthers.end();
}

// nullopt: it asks for no prediction. OPTIONS asks what may be asked of a model.
std::optional<Route> route_of(const http::Request& request) {
    const http::Target& target = request.target;
    const auto& segments = target.segments;
    if (segments.empty() || request.head.method == "OPTIONS") return std::nullopt;
    const bool explains = segments[0] == "explanations";
    if (segments.size() > 1 && (segments[0] == "predictions" || explains)) {
        Route route;
        route.model = segments[1];
        if (segments.size() > 2) route.version = segments[2];
        route.url_path = joined(segments, 3);
        route.explain = explains;
        return route;
    }
    if (segments.size() == 3 && segments[0] == "v1" && segments[1] == "models") return kserve_route(segments[2]);
    const bool is_oldest = is_oldest_form(segments);
    if (is_oldest || is_invocation(segments)) {
        Route route;
        const std::string* name = target.parameter("model_name");
        if (segments.size() > 1) {
            route.model = segments[is_oldest ? 0 : 1];
        } else if (name != nullptr) {
            route.model = *name;
        }
        route.query_is_input = true;
        route.has_url_path = false;
        return route;
    }
    return form_route(request);
}

// What a handler gets: a field of a form each, or the whole body.
std::variant<std::vector<Input>, http::Refusal> inputs_of(const http::Request& request, const Route& route) {
    std::vector<Input> inputs;
    const auto put = [&inputs](const std::string& name, const std::string& type, std::string_view bytes) {
        inputs.push_back({name, type, std::as_bytes(std::span(bytes))});
    };
    if (route.query_is_input) {
        for (const auto& [name, value] : request.target.query) put(name, "", value);
    }
    const std::string type = content_type_of(request);
    if (!is_form(type)) {
        put("body", type, request.text());
        return inputs;
    }
    auto parsed = type == "multipart/form-data"
                      ? http::parse_multipart(*http::find(request.head.headers, "content-type"), request.text())
                      : http::parse_urlencoded(request.text());
    if (auto* refusal = std::get_if<http::Refusal>(&parsed)) return std::move(*refusal);
    for (http::Field& field : std::get<http::Fields>(parsed)) {
        // What was decoded has no other owner than the input itself.
        auto owner = std::make_shared<std::string>();
        std::span<const std::byte> bytes = std::as_bytes(std::span(field.bytes()));
        if (auto* decoded = std::get_if<std::string>(&field.value)) {
            *owner = std::move(*decoded);
            bytes = std::as_bytes(std::span(*owner));
        }
        inputs.push_back({std::move(field.name), http::mime_type(field.content_type), bytes, std::move(owner)});
    }
    return inputs;
}

// What stands in every answer of TorchServe, unless a handler has said otherwise.
void put_standing(Response& response) {
    for (const auto& [name, value] : {std::pair{"Pragma", "no-cache"},
                                      {"Cache-Control", "no-cache; no-store, must-revalidate, private"},
                                      {"Expires", "Thu, 01 Jan 1970 00:00:00 UTC"}}) {
        if (http::find(response.headers, name) == nullptr) response.headers.emplace_back(name, value);
    }
}

const char* type_of(Failure::Kind kind) {
    switch (kind) {
        case Failure::Kind::no_worker:
        case Failure::Kind::queue_full:
            return "ServiceUnavailableException";
        case Failure::Kind::expired:
            return "RequestTimeoutException";
        case Failure::Kind::worker_died:
        case Failure::Kind::handler:
            break;
    }
    return "InternalServerException";
}

// The 413 of a handler is 507, as in TorchServe.
Response failure_response(const Failure& failure) {
    return error_response(failure.status == 413 ? 507 : failure.status, type_of(failure.kind), failure.message);
}

Response bad_request(const std::string& message) { return error_response(400, "BadRequestException", message); }

Response not_found(const NotServed& not_served) {
    const bool no_model = not_served.kind == NotServed::Kind::model_not_found;
    return error_response(404, no_model ? "ModelNotFoundException" : "ModelVersionNotFoundException", not_served.message);
}

const RestManners kManners{failure_response, bad_request, not_found, true};

void predict(const Models& models, const ExchangePtr& exchange, Route route, net::Reactor& reactor) {
    auto inputs = inputs_of(exchange->request(), route);
    if (const auto* refusal = std::get_if<http::Refusal>(&inputs)) {
        return exchange->respond(error_response(refusal->status, "BadRequestException", refusal->message));
    }
    if (route.model.empty() && route.query_is_input) {
        for (const Input& input : std::get<std::vector<Input>>(inputs)) {
            if (input.name == "model_name") route.model = text_of(input.bytes);
        }
    }
    if (route.model.empty() && route.query_is_input) return exchange->respond(bad_request("Parameter model_name is required."));
    Asked asked{std::move(route.model), std::move(route.version), {}};
    if (route.has_url_path) asked.headers.emplace_back("url_path", std::move(route.url_path));
    asked.headers.emplace_back("explain", route.explain ? "True" : "False");
    submit_exchange(models, exchange, std::move(asked), std::get<std::vector<Input>>(std::move(inputs)), kManners, reactor);
}

}  // namespace

void RestService::on_request(const ExchangePtr& exchange) {
    if (is_preflight(exchange->request().head)) return exchange->respond({200, "", {}, {}, false});
    if (parts_.models) {
        const Models& models = *parts_.models;
        if (auto route = route_of(exchange->request())) return predict(models, exchange, std::move(*route), reactor_);
        if (auto route = open_inference_route(exchange->request())) return infer(models, exchange, *route, reactor_);
    }
    if (!exchange->request().target.is_utf8()) return exchange->respond(bad_request(kNoTextInTarget));
    if (!parts_.others->put(exchange)) {
        exchange->respond(
            error_response(503, "ServiceUnavailableException", "too many requests wait for the management: try again later"));
    }
}

std::variant<std::string, http::Response> RestService::admit(const http::RequestHead& head,
                                                             std::string_view certificate) const {
    return parts_.access.admit(head, certificate);
}

void RestService::complete(const http::Answered& answered, Response& response) const {
    if (http::find(response.headers, kRequestId) == nullptr) {
        response.headers.emplace_back(kRequestId, request_id_of(http::find(answered.head.headers, kRequestId)));
    }
    put_standing(response);
    parts_.access.put_cors(response);
    if (parts_.answers) parts_.answers->on_answer(answered, response);
}

http::Response RestService::refuse(const http::Refusal& refusal) const {
    return error_response(refusal.status, "BadRequestException", refusal.message);
}

}  // namespace persia::inference
