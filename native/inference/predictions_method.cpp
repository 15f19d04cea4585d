#include "inference/predictions_method.hpp"

#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "inference/call_failure.hpp"
#include "inference/request_options.hpp"
#include "inference/submit_call.hpp"
#include "wire/protobuf.hpp"

namespace persia::inference {

namespace {

using grpc::Code;
using wire::tag_of;
using wire::WireType;

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
        const bool failed_with_success = failure.kind == Failure::Kind::handler && code_of_status(failure.status) == Code::ok;
        failed_with_success ? reply_error() : finish_with(*call_, failure);
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
    WorkerRequest asked{{}, {}, std::move(request.inputs), owner};
    for (const std::string_view name : kForHandlers) {
        if (const std::string* value = grpc::find(call->info().metadata, name)) asked.headers.emplace_back(name, *value);
    }
    submit_call(*models_, call, request.model, request.version, std::move(asked),
                std::make_shared<CallResponder>(call, streams_));
}

}  // namespace persia::inference
