#include "inference/model_infer_method.hpp"

#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "inference/call_failure.hpp"
#include "inference/handler_status.hpp"
#include "inference/open_inference_rest.hpp"
#include "inference/submit_call.hpp"
#include "wire/protobuf.hpp"

namespace persia::inference {

namespace {

using grpc::Code;
using wire::tag_of;
using wire::WireType;

constexpr int kFirstError = 400;

// Which model a ModelInferRequest is for. The rest of it is the worker's.
struct Wanted {
    std::string model, version;
};

Wanted wanted_of(std::span<const std::byte> message) {
    Wanted wanted;
    for (wire::FieldReader fields(message); fields.next();) {
        if (fields.tag() == tag_of(1, WireType::bytes)) wanted.model = text_of(fields.bytes());
        if (fields.tag() == tag_of(2, WireType::bytes)) wanted.version = text_of(fields.bytes());
    }
    return wanted;
}

// The body of a prediction is a ModelInferResponse, or the words of an error.
class InferResponder final : public Responder {
  public:
    explicit InferResponder(grpc::ServerCallPtr call) : call_(std::move(call)) {}

    bool has_ended() const override { return call_->has_ended(); }

    void on_prediction(Prediction prediction, bool /*more*/) override {
        if (const auto failure = failure_of_status(prediction)) return on_failure(*failure);
        if (prediction.status >= kFirstError) {
            return call_->finish({code_of_status(prediction.status), std::string(text_of(prediction.body))});
        }
        grpc::OutgoingMessage message;
        message.append(prediction.body, std::move(prediction.owner));
        call_->reply(std::move(message));
    }

    void on_failure(const Failure& failure) override { finish_with(*call_, failure); }

  private:
    const grpc::ServerCallPtr call_;
};

}  // namespace

void ModelInferMethod::on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) {
    const auto owner = std::make_shared<grpc::ReceivedMessage>(std::move(message));
    Wanted wanted;
    try {
        wanted = wanted_of(owner->bytes());
    } catch (const DecodeError& error) {
        return call->finish({Code::invalid_argument, error.what()});
    }
    if (wanted.model.empty()) return call->finish({Code::invalid_argument, "expected the name of a model, got none"});
    WorkerRequest request{{}, {{"explain", "False"}, {kOpenInferenceHeader, "grpc"}}, {{"body", "", owner->bytes()}}, owner};
    submit_call(*models_, call, wanted.model, wanted.version, std::move(request), std::make_shared<InferResponder>(call));
}

}  // namespace persia::inference
