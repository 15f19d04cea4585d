// Ends a gRPC call with the reason for which a handler gives no answer.
#pragma once

#include "grpc/server_call.hpp"
#include "inference/job.hpp"

namespace persia::inference {

// A handler's failure with the code of success is of a kind that nobody knows.
void finish_with(grpc::ServerCall& call, const Failure& failure);

// gRPC's code for what a handler means by an HTTP status, by TorchServe's table.
grpc::Code code_of_status(int http_status);

}  // namespace persia::inference
