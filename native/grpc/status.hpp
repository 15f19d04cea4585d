// How a call ends: a code of gRPC's, and words for who called.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace persia::grpc {

enum class Code {
    ok = 0,
    cancelled = 1,
    unknown = 2,
    invalid_argument = 3,
    deadline_exceeded = 4,
    not_found = 5,
    already_exists = 6,
    permission_denied = 7,
    resource_exhausted = 8,
    failed_precondition = 9,
    aborted = 10,
    out_of_range = 11,
    unimplemented = 12,
    internal = 13,
    unavailable = 14,
    data_loss = 15,
    unauthenticated = 16,
};

struct Status {
    Status() = default;
    Status(Code how, std::string words) : code(how), message(std::move(words)) {}

    bool ok() const { return code == Code::ok; }

    Code code = Code::ok;
    std::string message;
};

// What is told of a status at most; clients refuse headers that are much longer.
constexpr std::size_t kMaxStatusBytes = 4096;

// `grpc-message` as it is sent: all but printable ASCII as %XX.
std::string percent_encoded(std::string_view text);
// And back. What is no %XX stays as it is, as gRPC wants it.
std::string percent_decoded(std::string_view text);

// What a caller is told whose call ended without a `grpc-status`: by the HTTP status, or by the error code of RST_STREAM.
Code code_of_http_status(int status);
Code code_of_http2_error(unsigned error);

}  // namespace persia::grpc
