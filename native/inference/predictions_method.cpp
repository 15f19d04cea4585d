#include "inference/predictions_method.hpp"

#include <atomic>
#include <string_view>
#include <utility>

#include "inference/request_wishes.hpp"
#include "persia/error.hpp"
#include "wire/protobuf.hpp"

namespace persia::inference {

namespace {

using grpc::Code;
using grpc::Status;
using wire::tag_of;
using wire::WireType;

constexpr std::string_view kPushback = "grpc-retry-pushback-ms";

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// PredictionsRequest.
struct Request {
    std::string model, version;
    std::vector<Input> inputs;
};

// An entry of the map `input`. Its value stays where it is.
Input input_of(std::span<const std::byte> entry) {
    Input input;
    for (wire::FieldReader fields(entry); fields.next();) {
        if (fields.tag() == tag_of(1, WireType::bytes)) input.name = text_of(fields.bytes());
        if (fields.tag() == tag_of(2, WireType::bytes)) input.bytes = fields.bytes();
    }
    return input;
}

Request request_of(std::span<const std::byte> message) {
    Request request;
    for (wire::FieldReader fields(message); fields.next();) {
        if (fields.tag() == tag_of(1, WireType::bytes)) request.model = text_of(fields.bytes());
        if (fields.tag() == tag_of(2, WireType::bytes)) request.version = text_of(fields.bytes());
        if (fields.tag() == tag_of(3, WireType::bytes)) request.inputs.push_back(input_of(fields.bytes()));
    }
    return request;
}

Status status_of(const Failure& failure) {
    switch (failure.kind) {
        case Failure::Kind::no_worker:
            return {Code::unavailable, failure.message};
        case Failure::Kind::queue_full:
            return {Code::resource_exhausted, failure.message};
        case Failure::Kind::expired:
            return {Code::deadline_exceeded, failure.message};
        case Failure::Kind::worker_died:
            return {Code::internal, failure.message};
        case Failure::Kind::handler:
            break;
    }
    return {code_of_status(failure.status), failure.message};
}

// Answers a call with what a handler says.
class CallResponder final : public Responder {
  public:
    CallResponder(grpc::ServerCallPtr call, bool streams) : call_(std::move(call)), streams_(streams) {}

    bool has_ended() const override { return call_->has_ended(); }

    void on_prediction(Prediction prediction, bool more) override {
        wire::MessageWriter writer(prediction.owner);
        writer.lend(1, prediction.body, 1);
        if (streams_) {
            call_->send(writer.take());
            if (!more) call_->finish({});
        } else if (!std::exchange(answered_, true)) {
            call_->reply(writer.take());
        }
    }

    void on_failure(const Failure& failure) override {
        const Status status = status_of(failure);
        if (status.ok()) return reply_error();
        grpc::Metadata trailers;
        if (failure.retry_after.count() != 0) trailers.emplace_back(kPushback, std::to_string(failure.retry_after.count()));
        call_->finish(status, std::move(trailers));
    }

  private:
    // A handler that fails with the code of success: TorchServe's front end answers with the body that its worker sends then.
    void reply_error() {
        wire::MessageWriter writer;
        writer.bytes(1, std::as_bytes(std::span(std::string_view("error"))));
        call_->reply(writer.take());
    }

    const grpc::ServerCallPtr call_;
    const bool streams_;
    bool answered_ = false;  // by the first part of a stream
};

}  // namespace

void PredictionsMethod::on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) {
    const auto owner = std::make_shared<grpc::ReceivedMessage>(std::move(message));
    Request request;
    try {
        request = request_of(owner->bytes());
    } catch (const DecodeError& error) {
        return call->finish({Code::invalid_argument, error.what()});
    }
    if (request.model.empty()) return call->finish({Code::invalid_argument, "Parameter model_name is required."});
    auto found = models_->find(request.model, request.version);
    if (const auto* not_served = std::get_if<NotServed>(&found)) return call->finish({Code::not_found, not_served->message});
    const auto& metadata = call->info().metadata;
    auto wishes = wishes_of(grpc::find(metadata, kRequestId), grpc::find(metadata, kPriority), grpc::find(metadata, kTimeout));
    if (auto* problem = std::get_if<std::string>(&wishes)) return call->finish({Code::invalid_argument, std::move(*problem)});
    Job job;
    job.request = {{}, {}, std::move(request.inputs), owner};
    job.responder = std::make_shared<CallResponder>(call, streams_);
    job.arrived = call->info().arrived;
    job.totals = models_->totals(request.model, request.version);
    apply(std::get<RequestWishes>(std::move(wishes)), call->info().deadline, job);
    call->add_trailer(std::string(kRequestId), job.request.id);
    std::get<std::shared_ptr<ModelVersion>>(found)->submit(std::move(job));
}

Code code_of_status(int http_status) {
    switch (http_status) {
        case 400:
            return Code::invalid_argument;
        case 401:
            return Code::unauthenticated;
        case 403:
            return Code::permission_denied;
        case 404:
            return Code::not_found;
        case 409:
            return Code::aborted;
        case 413:
        case 429:
            return Code::resource_exhausted;
        case 416:
            return Code::out_of_range;
        case 499:
            return Code::cancelled;
        case 501:
            return Code::unimplemented;
        case 503:
            return Code::unavailable;
        case 504:
            return Code::deadline_exceeded;
        default:
            break;
    }
    if (http_status >= 200 && http_status < 300) return Code::ok;
    if (http_status >= 400 && http_status < 500) return Code::failed_precondition;
    if (http_status >= 500 && http_status < 600) return Code::internal;
    return Code::unknown;
}

}  // namespace persia::inference
