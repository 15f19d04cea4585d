#include "inference/rest_errors.hpp"

#include "inference/json_text.hpp"

namespace persia::inference {

http::Response error_response(int status, const std::string& type, const std::string& message) {
    return {status,
            "",
            {{"content-type", "application/json"}},
            grpc::OutgoingMessage("{\n  \"code\": " + std::to_string(status) + ",\n  \"type\": " + json_quoted(type) +
                                  ",\n  \"message\": " + json_quoted(message) + "\n}\n"),
            true};
}

}  // namespace persia::inference
