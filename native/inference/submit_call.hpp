// A call of gRPC on its way to the workers of a model.
#pragma once

#include <memory>
#include <string>

#include "grpc/server_call.hpp"
#include "inference/job.hpp"
#include "inference/models.hpp"

namespace persia::inference {

// Submits a request with the options in the call's metadata, and its deadline, and adds its id to the call's trailers. A model
// that is not served, and options that nobody understands, finish the call. version: empty: the caller names none.
void submit_call(const Models& models, const grpc::ServerCallPtr& call, const std::string& model, const std::string& version,
                 WorkerRequest request, std::shared_ptr<Responder> responder);

}  // namespace persia::inference
