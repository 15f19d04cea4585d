#include "serving/reserve.hpp"

#include <string>

#include "grpc/call_failed.hpp"

namespace persia::serving {

namespace {

// Who was told that there is no memory comes back after so long at the soonest.
constexpr std::chrono::milliseconds kPushback{20};

}  // namespace

void reserve(grpc::ServerCall& call, grpc::Reservation& reservation, std::size_t bytes) {
    if (call.reserve(reservation, bytes)) return;
    throw grpc::CallFailed({grpc::Code::resource_exhausted, "expected memory for an answer of " + std::to_string(bytes) +
                                                                " bytes, got none: all that the server may use is in use"},
                           kPushback);
}

}  // namespace persia::serving
