// `InferenceAPIsService.Predictions` and `StreamPredictions` of TorchServe: requests go to the workers of a model, answers
// back.
#pragma once

#include <memory>

#include "grpc/server_call.hpp"
#include "inference/models.hpp"

namespace persia::inference {

// Thread safety: any thread may call all of it.
class PredictionsMethod final : public grpc::Method {
  public:
    // streams: each part of an answer is a message; else the first part is the answer.
    PredictionsMethod(std::shared_ptr<const Models> models, bool streams) : models_(std::move(models)), streams_(streams) {}

    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override;

  private:
    const std::shared_ptr<const Models> models_;
    const bool streams_;
};

}  // namespace persia::inference
