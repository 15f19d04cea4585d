#include "serving/reserve.hpp"

#include "grpc/call_failed.hpp"

namespace persia::serving {

void reserve(grpc::ServerCall& call, grpc::Reservation& reservation, std::size_t bytes) {
    if (!call.reserve(reservation, bytes)) throw grpc::no_memory_for_answer(bytes);
}

}  // namespace persia::serving
