#include "inference/answer_observer.hpp"

#include "inference/request_options.hpp"

namespace persia::inference {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::string_view id_of(const std::string* header) { return header == nullptr ? std::string_view() : *header; }

}  // namespace

void AnswerObserver::on_end(const grpc::CallInfo& call, grpc::Code code, const grpc::Metadata& trailers) {
    count(status_of_code(code));
    if (!log_) return;
    log_->add({call.peer, "gRPC", std::string_view(call.path).substr(1), "HTTP/2.0", static_cast<int>(code),
               grpc::Clock::now() - call.arrived, id_of(grpc::find(trailers, kRequestId))});
}

void AnswerObserver::on_answer(const http::Answered& answered, const http::Response& response) {
    count(response.status);
    if (!log_) return;
    const http::RequestHead& head = answered.head;
    log_->add({answered.peer, head.method, head.target, head.is_http_1_0 ? "HTTP/1.0" : "HTTP/1.1", response.status,
               http::Clock::now() - answered.since, id_of(http::find(response.headers, kRequestId))});
}

AnswerObserver::Counts AnswerObserver::counts() const {
    return {good_.load(kRelaxed), client_errors_.load(kRelaxed), server_errors_.load(kRelaxed)};
}

void AnswerObserver::count(int status) {
    (status < 400 ? good_ : status < 500 ? client_errors_ : server_errors_).fetch_add(1, kRelaxed);
}

int status_of_code(grpc::Code code) {
    switch (code) {
        case grpc::Code::ok:
            return 200;
        case grpc::Code::invalid_argument:
        case grpc::Code::failed_precondition:
        case grpc::Code::out_of_range:
            return 400;
        case grpc::Code::unauthenticated:
            return 401;
        case grpc::Code::permission_denied:
            return 403;
        case grpc::Code::not_found:
            return 404;
        case grpc::Code::already_exists:
        case grpc::Code::aborted:
            return 409;
        case grpc::Code::resource_exhausted:
            return 429;
        case grpc::Code::cancelled:
            return 499;
        case grpc::Code::unimplemented:
            return 501;
        case grpc::Code::unavailable:
            return 503;
        case grpc::Code::deadline_exceeded:
            return 504;
        default:
            return 500;
    }
}

}  // namespace persia::inference
