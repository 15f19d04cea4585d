// How a call ended that was not answered, as an exception.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "grpc/metadata.hpp"
#include "grpc/status.hpp"

namespace persia::grpc {

class CallFailed : public Error {
  public:
    // pushback: of one that there is too much to do for: after how long it may be made again.
    explicit CallFailed(Status why, std::optional<std::chrono::milliseconds> may_return_after = {})
        : Error(why.message), status(std::move(why)), pushback(may_return_after) {}

    Status status;
    std::optional<std::chrono::milliseconds> pushback;
};

// Who was told that there is no memory comes back after so long at the soonest.
constexpr std::chrono::milliseconds kMemoryPushback{20};

// Of a budget of memory, so much is not left for an answer.
inline CallFailed no_memory_for_answer(std::size_t bytes) {
    return CallFailed({Code::resource_exhausted, "expected memory for an answer of " + std::to_string(bytes) +
                                                     " bytes, got none: all that the server may use is in use"},
                      kMemoryPushback);
}

// What says to a caller that it may come back.
inline Metadata pushback_for(std::chrono::milliseconds pushback) {
    return {{"grpc-retry-pushback-ms", std::to_string(pushback.count())}};
}

}  // namespace persia::grpc
