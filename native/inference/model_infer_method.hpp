// `GRPCInferenceService.ModelInfer` of the Open Inference Protocol: requests go to the workers of a model as they came, and
// answers back as a worker wrote them.
#pragma once

#include <memory>

#include "grpc/server_call.hpp"
#include "inference/models.hpp"

namespace persia::inference {

// Thread safety: any thread may call all of it.
class ModelInferMethod final : public grpc::Method {
  public:
    explicit ModelInferMethod(std::shared_ptr<const Models> models) : models_(std::move(models)) {}

    void on_message(const grpc::ServerCallPtr& call, grpc::ReceivedMessage message) override;

  private:
    const std::shared_ptr<const Models> models_;
};

}  // namespace persia::inference
