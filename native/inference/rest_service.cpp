#include "inference/rest_service.hpp"

#include <atomic>
#include <cstdio>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "http/form.hpp"
#include "inference/request_wishes.hpp"

namespace persia::inference {

namespace {

using http::ExchangePtr;
using http::Headers;
using http::Response;

// What a path asks for, of which model.
struct Route {
    std::string model, version, url_path;
    bool explain = false;
    bool query_is_input = false;  // SageMaker's
    bool has_url_path = true;
};

std::string json_quoted(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        switch (c) {
            case '"':
                quoted += "\\\"";
                break;
            case '\\':
                quoted += "\\\\";
                break;
            case '\n':
                quoted += "\\n";
                break;
            case '\r':
                quoted += "\\r";
                break;
            case '\t':
                quoted += "\\t";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    char escape[8];
                    std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(c));
                    quoted += escape;
                } else {
                    quoted += c;
                }
        }
    }
    return quoted + '"';
}

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

// nullopt: it asks for no prediction.
std::optional<Route> route_of(const http::Target& target) {
    const auto& segments = target.segments;
    if (segments.empty()) return std::nullopt;
    const bool explains = segments[0] == "explanations";
    if (segments[0] == "predictions" || explains) {
        Route route;
        if (segments.size() > 1) route.model = segments[1];
        if (segments.size() > 2) route.version = segments[2];
        route.url_path = joined(segments, 3);
        route.explain = explains;
        return route;
    }
    if (segments.size() == 3 && segments[0] == "v1" && segments[1] == "models") return kserve_route(segments[2]);
    const bool invokes = segments.size() == 1 && segments[0] == "invocations";
    if (invokes || (segments.size() == 3 && segments[0] == "models" && segments[2] == "invoke")) {
        Route route;
        if (!invokes) route.model = segments[1];
        if (const std::string* name = target.parameter("model_name"); invokes && name != nullptr) route.model = *name;
        route.query_is_input = true;
        route.has_url_path = false;
        return route;
    }
    return std::nullopt;
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
    const std::string* header = http::find(request.head.headers, "content-type");
    const std::string type = header == nullptr ? "" : http::mime_type(*header);
    if (type != "multipart/form-data" && type != "application/x-www-form-urlencoded") {
        put("body", type, request.text());
        return inputs;
    }
    auto parsed =
        type == "multipart/form-data" ? http::parse_multipart(*header, request.text()) : http::parse_urlencoded(request.text());
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

Headers with_standing(Headers headers, const std::string& request_id) {
    headers.emplace_back("x-request-id", request_id);
    headers.emplace_back("Pragma", "no-cache");
    headers.emplace_back("Cache-Control", "no-cache; no-store, must-revalidate, private");
    headers.emplace_back("Expires", "Thu, 01 Jan 1970 00:00:00 UTC");
    return headers;
}

grpc::OutgoingMessage body_of(Prediction& prediction) {
    grpc::OutgoingMessage body;
    body.append(prediction.body, std::move(prediction.owner));
    return body;
}

Response failure_response(const Failure& failure) {
    switch (failure.kind) {
        case Failure::Kind::no_worker:
            return error_response(503, "ServiceUnavailableException", failure.message);
        case Failure::Kind::queue_full: {
            Response response = error_response(429, "ServiceUnavailableException", failure.message);
            const auto seconds = (failure.retry_after.count() + 999) / 1000;
            response.headers.emplace_back("Retry-After", std::to_string(seconds));
            return response;
        }
        case Failure::Kind::expired:
            return error_response(408, "RequestTimeoutException", failure.message);
        case Failure::Kind::worker_died:
        case Failure::Kind::handler:
            break;
    }
    return error_response(failure.status == 413 ? 507 : failure.status, "InternalServerException", failure.message);
}

// Answers a request with what a handler says.
class RestResponder final : public Responder {
  public:
    RestResponder(ExchangePtr exchange, std::string request_id)
        : exchange_(std::move(exchange)), request_id_(std::move(request_id)) {}

    bool has_ended() const override { return exchange_->has_ended(); }

    void on_prediction(Prediction prediction, bool more) override {
        const bool first = !began_.exchange(true);
        if (first) {
            Response response{prediction.status,
                              prediction.reason,
                              with_standing(std::move(prediction.headers), request_id_),
                              {},
                              prediction.status >= 400};
            if (!more) {
                response.body = body_of(prediction);
                return exchange_->respond(std::move(response));
            }
            exchange_->begin(std::move(response));
        }
        exchange_->send(body_of(prediction));
        if (!more) exchange_->end();
    }

    void on_failure(const Failure& failure) override {
        if (began_.exchange(true)) return exchange_->end();  // what was said cannot be taken back
        Response response = failure_response(failure);
        response.headers = with_standing(std::move(response.headers), request_id_);
        exchange_->respond(std::move(response));
    }

  private:
    const ExchangePtr exchange_;
    const std::string request_id_;
    std::atomic<bool> began_{false};  // it may be late when a handler answers
};

// Tells who waits that it is over, unless the answer has begun by then.
void watch_deadline(net::Reactor& reactor, Clock::time_point deadline, const std::shared_ptr<Responder>& responder) {
    reactor.at(deadline, [weak = std::weak_ptr(responder)] {
        const auto waiting = weak.lock();
        if (waiting && !waiting->has_ended()) {
            waiting->on_failure({Failure::Kind::expired, 408, "the deadline passed before the handler answered", {}});
        }
    });
}

void predict(const Models& models, const ExchangePtr& exchange, Route route, net::Reactor& reactor) {
    const http::Request& request = exchange->request();
    const Headers& headers = request.head.headers;
    auto wishes = wishes_of(http::find(headers, kRequestId), http::find(headers, kPriority), http::find(headers, kTimeout));
    if (const auto* problem = std::get_if<std::string>(&wishes)) {
        return exchange->respond(error_response(400, "BadRequestException", *problem));
    }
    auto inputs = inputs_of(request, route);
    if (const auto* refusal = std::get_if<http::Refusal>(&inputs)) {
        return exchange->respond(error_response(refusal->status, "BadRequestException", refusal->message));
    }
    if (route.model.empty() && route.query_is_input) {
        for (const Input& input : std::get<std::vector<Input>>(inputs)) {
            if (input.name == "model_name")
                route.model.assign(reinterpret_cast<const char*>(input.bytes.data()), input.bytes.size());
        }
    }
    if (route.model.empty()) {
        return exchange->respond(error_response(400, "BadRequestException", "Parameter model_name is required."));
    }
    auto found = models.find(route.model, route.version);
    if (const auto* not_served = std::get_if<NotServed>(&found)) {
        const bool no_model = not_served->kind == NotServed::Kind::model_not_found;
        return exchange->respond(
            error_response(404, no_model ? "ModelNotFoundException" : "ModelVersionNotFoundException", not_served->message));
    }
    Job job;
    job.request = {{}, headers, std::get<std::vector<Input>>(std::move(inputs)), exchange};
    if (route.has_url_path) job.request.headers.emplace_back("url_path", std::move(route.url_path));
    job.request.headers.emplace_back("explain", route.explain ? "True" : "False");
    job.arrived = request.arrived;
    job.totals = models.totals(route.model, route.version);
    apply(std::get<RequestWishes>(std::move(wishes)), std::nullopt, job);
    job.responder = std::make_shared<RestResponder>(exchange, job.request.id);
    if (job.deadline) watch_deadline(reactor, *job.deadline, job.responder);
    std::get<std::shared_ptr<ModelVersion>>(found)->submit(std::move(job));
}

}  // namespace

Response error_response(int status, const std::string& type, const std::string& message) {
    return {status,
            "",
            {{"content-type", "application/json"}},
            grpc::OutgoingMessage("{\n  \"code\": " + std::to_string(status) + ",\n  \"type\": " + json_quoted(type) +
                                  ",\n  \"message\": " + json_quoted(message) + "\n}\n"),
            true};
}

void RestService::on_request(const ExchangePtr& exchange) {
    if (is_preflight(exchange->request().head)) return exchange->respond({200, "", {}, {}, false});
    if (parts_.models) {
        if (auto route = route_of(exchange->request().target)) {
            return predict(*parts_.models, exchange, std::move(*route), reactor_);
        }
    }
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
    parts_.access.put_cors(response);
    if (parts_.traffic) parts_.traffic->on_answer(answered, response);
}

http::Response RestService::refuse(const http::Refusal& refusal) const {
    return error_response(refusal.status, "BadRequestException", refusal.message);
}

}  // namespace persia::inference
