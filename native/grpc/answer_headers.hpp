// What the headers of an answer say, those before its message or those after it.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "grpc/metadata.hpp"
#include "grpc/status.hpp"

namespace persia::grpc {

struct AnswerHeaders {
    int http_status = 0;
    bool is_grpc = false;      // by the content-type
    bool packed = false;       // by gzip, where a message says that it is
    std::optional<Code> code;  // one that gRPC does not have is `unknown`
    std::string message;
    std::optional<std::chrono::milliseconds> pushback;  // negative: what is no number means that nobody should ask again
    Metadata metadata;                                  // without what gRPC keeps for itself

    void add(std::string_view name, std::string_view value);
};

}  // namespace persia::grpc
