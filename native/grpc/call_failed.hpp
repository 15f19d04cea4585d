// How a call ended that was not answered, as an exception.
#pragma once

#include <chrono>
#include <optional>
#include <utility>

#include "grpc/status.hpp"
#include "persia/error.hpp"

namespace persia::grpc {

class CallFailed : public Error {
  public:
    // pushback: of one that there is too much to do for: after how long it may be made again.
    explicit CallFailed(Status why, std::optional<std::chrono::milliseconds> may_return_after = {})
        : Error(why.message), status(std::move(why)), pushback(may_return_after) {}

    Status status;
    std::optional<std::chrono::milliseconds> pushback;
};

}  // namespace persia::grpc
