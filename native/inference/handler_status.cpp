#include "inference/handler_status.hpp"

namespace persia::inference {

namespace {

// Of a worker whose handler has set what is no number: the reason says what it was.
constexpr int kNoNumber = 0;

}  // namespace

std::optional<Failure> failure_of_status(const Prediction& prediction) {
    if (is_status(prediction.status)) return std::nullopt;
    const bool is_named = prediction.status == kNoNumber && !prediction.reason.empty();
    return Failure{Failure::Kind::handler,
                   500,
                   "expected a status from 200 to 599 of the handler, got " +
                       (is_named ? prediction.reason : std::to_string(prediction.status)),
                   {}};
}

}  // namespace persia::inference
