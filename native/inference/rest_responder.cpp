#include "inference/rest_responder.hpp"

#include <chrono>
#include <utility>

#include "inference/handler_status.hpp"

namespace persia::inference {

namespace {

Headers with_id(Headers headers, const std::string& request_id) {
    headers.emplace_back("x-request-id", request_id);
    return headers;
}

grpc::OutgoingMessage body_of(Prediction& prediction) {
    grpc::OutgoingMessage body;
    body.append(prediction.body, std::move(prediction.owner));
    return body;
}

}  // namespace

void RestResponder::on_prediction(Prediction prediction, bool more) {
    if (const auto failure = failure_of_status(prediction)) return on_failure(*failure);
    const bool first = !began_.exchange(true);
    if (first) {
        http::Response response{prediction.status,
                                prediction.reason,
                                with_id(std::move(prediction.headers), request_id_),
                                {},
                                manners_.errors_close && prediction.status >= 400};
        if (!more) {
            response.body = body_of(prediction);
            return exchange_->respond(std::move(response));
        }
        exchange_->begin(std::move(response));
    }
    exchange_->send(body_of(prediction));
    if (!more) exchange_->end();
}

void RestResponder::on_failure(const Failure& failure) {
    if (began_.exchange(true)) return exchange_->end();  // what was said cannot be taken back
    http::Response response = manners_.failure(failure);
    if (failure.kind == Failure::Kind::queue_full) {
        const auto seconds = std::chrono::ceil<std::chrono::seconds>(failure.retry_after).count();
        response.headers.emplace_back("Retry-After", std::to_string(seconds));
    }
    response.headers = with_id(std::move(response.headers), request_id_);
    exchange_->respond(std::move(response));
}

void watch_deadline(net::Reactor& reactor, Clock::time_point deadline, const std::shared_ptr<Responder>& responder) {
    reactor.at(deadline, [weak = std::weak_ptr(responder)] {
        const auto waiting = weak.lock();
        if (waiting && !waiting->has_ended()) {
            waiting->on_failure({Failure::Kind::expired, 408, "the deadline passed before the handler answered", {}});
        }
    });
}

}  // namespace persia::inference
