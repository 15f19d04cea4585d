// Errors over REST, in TorchServe's form.
#pragma once

#include <string>

#include "http/exchange.hpp"

namespace persia::inference {

// JSON with the status, a type that is named like its Java class, and a message.
http::Response error_response(int status, const std::string& type, const std::string& message);

}  // namespace persia::inference
