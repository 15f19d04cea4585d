// What a handler sets as the status of its answer, which may be any number.
#pragma once

#include <optional>

#include "inference/job.hpp"

namespace persia::inference {

// Whether HTTP has it for an answer: those below 200 are for what comes before an answer.
constexpr bool is_status(int status) { return status >= 200 && status <= 599; }

// The failure that a prediction is which has another status; nullopt: it has one that can be told.
std::optional<Failure> failure_of_status(const Prediction& prediction);

}  // namespace persia::inference
