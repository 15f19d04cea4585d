// Exceptions as the callers of a method are told of them.
#pragma once

#include "grpc/metadata.hpp"
#include "grpc/status.hpp"

namespace persia::serving {

struct Failure {
    grpc::Status status;
    grpc::Metadata trailers;
};

// Of the exception that is being handled. One that is not ours tells the caller nothing, and is written to stderr.
Failure current_failure();

}  // namespace persia::serving
