// A request of the server's own, whose answer it waits for.
#pragma once

#include <chrono>
#include <string>
#include <variant>

#include "inference/model_version.hpp"

namespace persia::inference {

// The answer, without the parts before the last one if the handler streams it. The request shares no batch with others.
std::variant<Prediction, Failure> ask(ModelVersion& model, Headers headers, std::chrono::milliseconds timeout);

}  // namespace persia::inference
