#include "inference/call_failure.hpp"

#include <string>
#include <utility>

namespace persia::inference {

namespace {

using grpc::Code;
using grpc::Status;

Status status_of(const Failure& failure) {
    switch (failure.kind) {
        case Failure::Kind::no_worker:
            return {Code::unavailable, failure.message};
        case Failure::Kind::queue_full:
            return {Code::resource_exhausted, failure.message};
        case Failure::Kind::expired:
            return {Code::deadline_exceeded, failure.message};
        case Failure::Kind::worker_died:
            return {Code::internal, failure.message};
        case Failure::Kind::handler:
            break;
    }
    const Code code = code_of_status(failure.status);
    return {code == Code::ok ? Code::unknown : code, failure.message};
}

}  // namespace

void finish_with(grpc::ServerCall& call, const Failure& failure) {
    const bool may_return = failure.retry_after.count() != 0;
    call.finish(status_of(failure), may_return ? grpc::pushback_for(failure.retry_after) : grpc::Metadata());
}

Code code_of_status(int http_status) {
    switch (http_status) {
        case 400:
            return Code::invalid_argument;
        case 401:
            return Code::unauthenticated;
        case 403:
            return Code::permission_denied;
        case 404:
            return Code::not_found;
        case 409:
            return Code::aborted;
        case 413:
        case 429:
            return Code::resource_exhausted;
        case 416:
            return Code::out_of_range;
        case 499:
            return Code::cancelled;
        case 501:
            return Code::unimplemented;
        case 503:
            return Code::unavailable;
        case 504:
            return Code::deadline_exceeded;
        default:
            break;
    }
    if (http_status >= 200 && http_status < 300) return Code::ok;
    if (http_status >= 400 && http_status < 500) return Code::failed_precondition;
    if (http_status >= 500 && http_status < 600) return Code::internal;
    return Code::unknown;
}

}  // namespace persia::inference
