// Memory for answers, of what the server may use.
#pragma once

#include <cstddef>

#include "grpc/server_call.hpp"

namespace persia::serving {

// Takes so many bytes in all. Throws grpc::CallFailed where they are not left.
void reserve(grpc::ServerCall& call, grpc::Reservation& reservation, std::size_t bytes);

}  // namespace persia::serving
